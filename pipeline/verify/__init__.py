"""Checks that every row of an archive is intact."""
