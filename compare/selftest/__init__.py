"""The self-test: known port bugs are injected, and the ladder must catch each in its place."""
