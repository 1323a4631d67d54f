"""Parts of `python -m bench.exactness`: bit-exactness of payloads."""
