"""Runs of jobs beside each other: their names, leases, heartbeats and records."""
