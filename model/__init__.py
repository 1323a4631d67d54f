"""The codec: arrays in, bytes out. No Ray, no storage; works in a notebook."""
