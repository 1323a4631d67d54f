"""Release: checks that an archive can replace its source, and deletes originals that it can replace."""
