"""The archive: Delta tables, shards, commits, models."""
