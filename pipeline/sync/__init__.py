"""The nightly job: encodes what is new, retires what is gone, adapts the model."""
