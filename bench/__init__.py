"""Benchmarks: each is a command that prints a table of figures measured in that run; see README.md."""
