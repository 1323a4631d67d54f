"""A URL to bytes, and to keys in order."""
