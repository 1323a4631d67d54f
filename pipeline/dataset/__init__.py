"""An archive as training data, for torch and for Ray."""
