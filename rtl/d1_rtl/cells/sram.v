// Single-ported memory of 64-byte lines: one read or one write of masked bytes per cycle.
// A technology's own memory macro replaces this module in a physical flow. It is written for the
// simulator: one merged store behind one enable costs a fifth of 64 stores with an enable each.
module d1_sram #(
    parameter LINES = 2,
    parameter ADDRESS_BITS = 1
) (
    input                         clk,
    input                         enable,
    input                         write,
    input      [ADDRESS_BITS-1:0] line,
    input                  [63:0] mask,
    input                 [511:0] data,
    output reg            [511:0] q
);
  reg [511:0] memory[0:LINES-1];
  reg [511:0] bits;
  integer n;
  initial for (n = 0; n < LINES; n = n + 1) memory[n] = 512'd0;
  always @(posedge clk)
    if (enable) begin
      if (write) begin
        for (n = 0; n < 64; n = n + 1) bits[8*n+:8] = {8{mask[n]}};
        memory[line] <= (memory[line] & ~bits) | (data & bits);
      end else begin
        q <= memory[line];
      end
    end
endmodule
