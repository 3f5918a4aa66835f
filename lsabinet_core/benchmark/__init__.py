"""Benchmarks of inference and training on this machine."""
