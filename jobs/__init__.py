"""What a person or a scheduler starts: one module a job, each `maepress NAME` and `python -m jobs.NAME`."""
