"""Finds images that an archive holds more than once: the same bytes, or nearly the same picture."""
