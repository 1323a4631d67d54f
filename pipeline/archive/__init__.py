"""The archive: Delta tables, shards, commits, leases, models, runs."""
