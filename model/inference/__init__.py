"""The trained network on whole pictures of any size: tiles, windows, threads."""
