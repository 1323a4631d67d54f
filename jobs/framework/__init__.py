"""Shared parts of all jobs: flags, settings, output, errors, the Ray session."""
