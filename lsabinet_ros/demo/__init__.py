"""The demonstration: a drive replayed through the real node over real DDS, and what came out of it."""
