"""A laptop-sized laboratory for consensus protocols."""
