"""Decodes an archive to image files."""
