"""Keras behind the protocol."""
