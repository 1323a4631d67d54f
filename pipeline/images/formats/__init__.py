"""Single formats of image files, where Pillow alone is not enough."""
