"""The frameworks behind one protocol: the only code that opens live models."""
