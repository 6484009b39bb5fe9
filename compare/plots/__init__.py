"""Figures: numbers in, Matplotlib figures out."""
