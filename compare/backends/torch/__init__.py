"""Torch and Lightning behind the protocol."""
