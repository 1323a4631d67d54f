"""What all jobs share: flags, settings, output, errors, the Ray session."""
