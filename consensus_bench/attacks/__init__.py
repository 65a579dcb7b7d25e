"""The catalogue of attacks: one assumption is taken away at a time, and the verification says what falls.

``registry`` finds an attack by name, ``attack`` says what one is, ``explored``, ``scheduled``, ``duel`` and
``simulated`` are the ways to run one. ``rules`` are protocols with one rule removed.
"""
