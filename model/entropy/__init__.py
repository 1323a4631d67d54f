"""The entropy model: what predicts each latent's distribution, in training and in coding."""
