"""Floating-point units: the fused dot product, the matrix array and the format converters."""
