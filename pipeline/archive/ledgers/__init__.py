"""What an archive records of rows and originals that are gone."""
