"""Cocotb agents for the D1 node and the testbenches built from them."""
