"""What learns: transforms, the whole network, the loss, and growing a trained network."""
