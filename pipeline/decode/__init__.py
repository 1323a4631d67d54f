"""An archive back to image files."""
