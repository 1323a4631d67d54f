"""Whether every row of an archive is intact."""
