// The module of cells/clock_gate.v as a global clock buffer with an enable of an ECP5.
// Ref: Lattice FPGA-TN-02200, "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide".
module d1_clock_gate (
    input  clk,
    input  en,
    output gclk
);
  DCCA buffer (
      .CLKI(clk),
      .CE  (en),
      .CLKO(gclk)
  );
endmodule
