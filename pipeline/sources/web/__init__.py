"""Lists of web addresses as a source."""
