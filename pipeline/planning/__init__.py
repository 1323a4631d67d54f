"""The difference between source and archive, dealt into units of work."""
