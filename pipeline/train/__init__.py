"""Training, adapting and tuning a model on images."""
