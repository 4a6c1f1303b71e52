// The module of cells/reset_buffer.v as a global network of an ECP5.
// Ref: Lattice FPGA-TN-02200, "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide".
module d1_reset_buffer (
    input  reset,
    output buffered
);
  DCCA buffer (
      .CLKI(reset),
      .CE  (1'b1),
      .CLKO(buffered)
  );
endmodule
