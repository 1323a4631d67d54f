"""The trainable network: transforms, dataflow, loss, and growing a trained network."""
