"""The training node, one file for each part of its block diagram."""
