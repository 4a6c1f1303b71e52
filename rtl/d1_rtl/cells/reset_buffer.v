// Drives a reset of many registers. An FPGA has a network for it, which a module of its own uses.
module d1_reset_buffer (
    input  reset,
    output buffered
);
  assign buffered = reset;
endmodule
