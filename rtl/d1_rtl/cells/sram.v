// Single-ported memory of lines of eight 64-bit words with a check byte each: one read, or one
// write of the words of a mask, per cycle. A technology's own memory macro replaces this module in
// a physical flow. It is written for the simulator: one merged store behind one enable costs a
// fifth of a store for each word with an enable of its own.
module d1_sram #(
    parameter LINES = 2,
    parameter ADDRESS_BITS = 1
) (
    input                         clk,
    input                         enable,
    input                         write,
    input      [ADDRESS_BITS-1:0] line,
    input                   [7:0] words,
    input                 [511:0] data,
    input                  [63:0] check,
    output reg            [511:0] q,
    output reg             [63:0] q_check
);
  reg [511:0] memory[0:LINES-1];
  reg [63:0] checks[0:LINES-1];
  reg [511:0] bits;
  reg [63:0] check_bits;
  integer n;
  initial
    for (n = 0; n < LINES; n = n + 1) begin
      memory[n] = 512'd0;
      checks[n] = 64'd0;
    end
  always @(posedge clk)
    if (enable) begin
      if (write) begin
        for (n = 0; n < 8; n = n + 1) begin
          bits[64*n+:64] = {64{words[n]}};
          check_bits[8*n+:8] = {8{words[n]}};
        end
        memory[line] <= (memory[line] & ~bits) | (data & bits);
        checks[line] <= (checks[line] & ~check_bits) | (check & check_bits);
      end else begin
        q <= memory[line];
        q_check <= checks[line];
      end
    end
endmodule
