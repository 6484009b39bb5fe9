"""The judge on trial: injected bugs, measured conventions, noise floors, simulated studies."""
