"""Rows of tables as a source."""
