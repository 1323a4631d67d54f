"""Benchmarks: each a command that prints one table of ratios measured in that run."""
