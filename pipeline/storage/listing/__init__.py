"""Listing a store in the order of keys, and choosing among what it lists."""
