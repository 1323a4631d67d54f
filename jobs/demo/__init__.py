"""`make demo`: the main jobs on photographs that dependencies ship, as commands that a user would type."""

MINUTES = 1.0
"""Of training: enough to see a model adapt, in a demo of under three minutes."""
