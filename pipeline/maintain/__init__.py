"""Maintenance of an archive: status, history, restore, compact, vacuum."""
