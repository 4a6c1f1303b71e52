// A phase-locked loop for simulators: the clock as it comes, locked from the eighth edge on. A
// technology's own cell replaces this module in a physical flow.
module d1_pll #(
    parameter INPUT_DIVIDER = 1,
    parameter FEEDBACK_DIVIDER = 1,
    parameter OUTPUT_DIVIDER = 1
) (
    input  clk,
    output o,
    output locked
);
  reg [2:0] edges = 3'd0;
  always @(posedge clk) if (!locked) edges <= edges + 3'd1;
  assign o = clk;
  assign locked = &edges;
endmodule
