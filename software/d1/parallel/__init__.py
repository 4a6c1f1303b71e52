"""One graph on many nodes: who computes which part of it, and what they tell each other."""
