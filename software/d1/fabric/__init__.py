"""Many nodes as one machine: routing, collectives and distributed products."""
