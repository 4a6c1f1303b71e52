"""The mesh of a die: places, routers, and the functional model of all its nodes."""
