"""The one table of tolerances: absolute, with the reason and the largest difference measured.

In float64 a unit in the last place of a number near 1 is 2.2e-16. Everything here compares the same
arithmetic in two frameworks, so what remains is the order of additions.
"""

FORWARD = 1e-14
"""One forward pass: probabilities in [0, 1], at most four layers deep. Measured 2.9e-15, on the CNN
with batch statistics, which are sums over 640 values."""

THREE_EPOCHS = 5e-15
"""Weights of order 1 and probabilities after 48 steps of SGD. Measured 6.7e-16."""

EXACT_LAYER = 2e-13
"""One batch norm on values of order 10 in every option, a batch of one included, whose variance of
zero multiplies rounding by 31. Measured 2.7e-14 over 300 random layers."""

DEMONSTRATION = 2e-14
"""A convention's demonstration with its remedy: up to 30 steps, values of order 10. Measured
1.8e-15."""

PACES = 2e-13
"""Weights, probabilities and histories of one framework at both paces, after three epochs. Measured
4.1e-14, on the naive CNN, whose small epsilon multiplies rounding; 1e-14 for all others."""
