"""What operators see of a running job: log, metrics, progress."""
