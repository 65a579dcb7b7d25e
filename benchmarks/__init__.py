"""The suite's own speed: ``make bench`` (not part of the tests)."""
