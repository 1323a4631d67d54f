"""Members of tars and zips as a source."""
