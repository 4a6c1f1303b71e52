"""The D1 machine as synthesizable RTL in Amaranth; every component names its golden twin."""
