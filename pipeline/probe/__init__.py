"""Labels learned from latents."""
