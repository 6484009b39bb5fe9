"""What the README says in numbers, from records: first screen, clocks, own cost."""
