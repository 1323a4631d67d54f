"""Estimates the savings, the time and the cost of an encode from a sample."""
