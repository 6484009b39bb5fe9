"""Parity of the tutorial's own networks: the twins through every rung."""
