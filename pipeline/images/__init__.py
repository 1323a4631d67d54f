"""Untrusted bytes to pictures and back, in a sandbox."""
