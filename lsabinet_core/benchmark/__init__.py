"""Measuring how fast the package is here."""
