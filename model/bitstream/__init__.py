"""Integers to bytes and back: container, entropy coder, probability tables. No torch."""
