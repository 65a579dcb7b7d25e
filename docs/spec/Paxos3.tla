------------------------------- MODULE Paxos3 -------------------------------
(* 3 acceptors, 2 values, 3 ballots. *)
EXTENDS Paxos

CONSTANTS a1, a2, a3, v1, v2

TheQuorums == {{a1, a2}, {a1, a3}, {a2, a3}}
TheBallots == {0, 1, 2}
=============================================================================
