"""Storage: from a URL to objects, listed in key order, read and written."""
