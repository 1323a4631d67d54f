"""Web pages: the evaluation report and the archive viewer."""
