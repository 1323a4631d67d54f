"""Erasure: rows leave every version of an archive, and their keys may not come back."""
