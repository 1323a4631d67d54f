"""The nightly job: encode what is new, retire what is gone, adapt the model."""
