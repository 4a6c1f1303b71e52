// Latch-based integrated clock gate: the enable is taken while clk is low, so gclk never glitches.
// A technology's own cell replaces this module in a physical flow.
module d1_clock_gate (
    input  clk,
    input  en,
    output gclk
);
  reg enabled = 1'b0;
  always_latch begin
    if (!clk) enabled = en;
  end
  assign gclk = clk & enabled;
endmodule
