"""Training and adapting a model on images."""
