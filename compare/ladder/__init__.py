"""The ladder: what is compared on each of eleven rungs, and how closely."""
