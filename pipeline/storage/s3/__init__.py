"""Buckets of Amazon S3 and of servers with the same protocol."""
