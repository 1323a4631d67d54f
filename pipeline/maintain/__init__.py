"""The care of an archive: status, history, restore, compact, vacuum."""
