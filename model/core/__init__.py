"""Words that all of the codec shares: errors, pictures, targets, the configuration."""
