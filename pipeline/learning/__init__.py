"""Learning from an archive: its images and latents as a data set, heads on them, and what a probe finds."""
