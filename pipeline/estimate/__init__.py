"""What encoding a source would save, take and cost, from a sample."""
