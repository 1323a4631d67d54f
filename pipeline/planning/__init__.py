"""The difference between source and archive, divided into units of work."""
