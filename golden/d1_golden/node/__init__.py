"""The training node's instruction-set model."""
