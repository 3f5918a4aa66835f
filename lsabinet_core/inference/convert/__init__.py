"""Converters from a network to the file formats of the engines; one module per format."""

METADATA_KEY = "lsabinet"
"""Name of the entry that holds ``ExportInfo`` in an exported file."""
