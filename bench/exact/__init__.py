"""Is what is coded the same everywhere? `python -m bench.exactness`."""
