"""A user's own port: weights carried over and parity checked for any pair of models."""
