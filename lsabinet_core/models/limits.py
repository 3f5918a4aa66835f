"""Limits on the input of every network, for code that must not wait for the import of PyTorch."""

SMALLEST_INPUT = 64
"""Minimum height and width of an image in pixels."""
