"""The demonstration: replay a drive through the node over DDS and report the results."""
