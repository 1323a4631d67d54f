"""`make demo`: the main jobs on photographs that dependencies ship, as commands that a user would type."""
