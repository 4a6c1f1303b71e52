"""What a node on an FPGA has around it."""
