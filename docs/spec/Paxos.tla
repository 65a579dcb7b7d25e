------------------------------- MODULE Paxos -------------------------------
(* Single-decree Paxos, as in Lamport: Paxos Made Simple (2001), section 2,   *)
(* with the state variables of his own specification, so that counts of       *)
(* states can be compared: what each acceptor remembers, and all messages     *)
(* ever sent. A message that was sent can be received at any later time,      *)
(* several times, or never. Proposers have no state: ballot b is whoever      *)
(* begins b, and may propose any value that the promises leave open.          *)
EXTENDS Integers

CONSTANTS Acceptors, Values, Quorums, Ballots, None

ASSUME /\ \A Q \in Quorums : Q \subseteq Acceptors
       /\ \A Q, R \in Quorums : Q \cap R # {}
       /\ Ballots \subseteq Nat
       /\ None \notin Values

VARIABLES promised,   \* the highest ballot an acceptor has promised; -1: none
          ballot,     \* the ballot at which it accepted last; -1: never
          value,      \* the value that it accepted then
          messages    \* all messages ever sent

vars == <<promised, ballot, value, messages>>

Prepares == [type : {"prepare"}, bal : Ballots]
Promises == [type : {"promise"}, from : Acceptors, bal : Ballots,
             last : Ballots \cup {-1}, val : Values \cup {None}]
Accepts == [type : {"accept"}, bal : Ballots, val : Values]
Votes == [type : {"accepted"}, from : Acceptors, bal : Ballots, val : Values]

TypeOK == /\ promised \in [Acceptors -> Ballots \cup {-1}]
          /\ ballot \in [Acceptors -> Ballots \cup {-1}]
          /\ value \in [Acceptors -> Values \cup {None}]
          /\ messages \subseteq (Prepares \cup Promises \cup Accepts \cup Votes)

Init == /\ promised = [a \in Acceptors |-> -1]
        /\ ballot = [a \in Acceptors |-> -1]
        /\ value = [a \in Acceptors |-> None]
        /\ messages = {}

Send(m) == messages' = messages \cup {m}

(* 1a: ballot b begins. *)
Prepare(b) == /\ Send([type |-> "prepare", bal |-> b])
              /\ UNCHANGED <<promised, ballot, value>>

(* 1b: acceptor a promises to serve no ballot below b, and reports its last vote. *)
Promise(a, b) ==
    /\ b > promised[a]
    /\ [type |-> "prepare", bal |-> b] \in messages
    /\ promised' = [promised EXCEPT ![a] = b]
    /\ Send([type |-> "promise", from |-> a, bal |-> b, last |-> ballot[a], val |-> value[a]])
    /\ UNCHANGED <<ballot, value>>

(* 2a: with the promises of a quorum, ballot b proposes the value of the highest *)
(* ballot reported, or any if none was. It proposes once.                        *)
Accept(b, v) ==
    /\ ~ \E m \in messages : m.type = "accept" /\ m.bal = b
    /\ \E Q \in Quorums :
         LET heard == {m \in messages : m.type = "promise" /\ m.bal = b /\ m.from \in Q}
             voted == {m \in heard : m.last >= 0}
         IN  /\ \A a \in Q : \E m \in heard : m.from = a
             /\ \/ voted = {}
                \/ \E m \in voted : m.val = v /\ \A n \in voted : n.last <= m.last
    /\ Send([type |-> "accept", bal |-> b, val |-> v])
    /\ UNCHANGED <<promised, ballot, value>>

(* 2b: acceptor a accepts, unless it has promised a higher ballot meanwhile. *)
Vote(a, b, v) ==
    /\ b >= promised[a]
    /\ [type |-> "accept", bal |-> b, val |-> v] \in messages
    /\ promised' = [promised EXCEPT ![a] = b]
    /\ ballot' = [ballot EXCEPT ![a] = b]
    /\ value' = [value EXCEPT ![a] = v]
    /\ Send([type |-> "accepted", from |-> a, bal |-> b, val |-> v])

Next == \/ \E b \in Ballots : Prepare(b) \/ \E v \in Values : Accept(b, v)
        \/ \E a \in Acceptors, b \in Ballots : Promise(a, b) \/ \E v \in Values : Vote(a, b, v)

Spec == Init /\ [][Next]_vars

-----------------------------------------------------------------------------
Chosen(v) == \E b \in Ballots, Q \in Quorums : \A a \in Q :
                [type |-> "accepted", from |-> a, bal |-> b, val |-> v] \in messages

Agreement == \A v, w \in Values : Chosen(v) /\ Chosen(w) => v = w

SomethingChosen == \E v \in Values : Chosen(v)
EventuallyChosen == <>SomethingChosen

(* Ballots are bounded here: the highest one cannot be outbid. If it and one   *)
(* quorum keep going, something is chosen.                                     *)
Highest == CHOOSE b \in Ballots : \A c \in Ballots : c <= b
FairSpec ==
    /\ Spec
    /\ WF_vars(Prepare(Highest))
    /\ WF_vars(\E v \in Values : Accept(Highest, v))
    /\ \E Q \in Quorums : \A a \in Q :
         WF_vars(Promise(a, Highest)) /\ WF_vars(\E v \in Values : Vote(a, Highest, v))
=============================================================================
