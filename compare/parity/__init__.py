"""The ladder: what is compared on each of eleven rungs, how closely, and what explains a gap."""
