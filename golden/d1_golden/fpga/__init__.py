"""What a node on an FPGA has around it: the serial line to its host."""
