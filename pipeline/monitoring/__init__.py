"""Log, metrics and progress display of running jobs."""
