"""The demonstration: replay a drive through the real node over DDS and report the results."""
