"""Types that the whole codec shares: errors, pictures, targets, the configuration."""
