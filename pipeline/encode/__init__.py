"""Source images to committed shards."""
