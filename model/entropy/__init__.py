"""The entropy model: prediction of each latent's distribution, in training and in coding."""
