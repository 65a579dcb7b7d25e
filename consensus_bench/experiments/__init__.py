"""Comparisons: scenarios, plans of runs, running and measuring them, the run's folder."""
