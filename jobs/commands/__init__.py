"""One module per job: its settings, its run, and what it prints."""
