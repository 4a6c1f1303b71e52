"""The mesh of a die in RTL."""
