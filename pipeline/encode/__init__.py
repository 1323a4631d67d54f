"""Compresses source images into committed shards."""
