"""Networks into the engines' formats; one module per format."""
