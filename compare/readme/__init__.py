"""The README's first screen, from the records of a default study."""
