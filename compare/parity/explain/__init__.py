"""Which known convention explains what differs."""
