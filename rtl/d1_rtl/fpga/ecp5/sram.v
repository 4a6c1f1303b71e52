// The module of cells/sram.v in block RAMs of an ECP5: a memory for each word, which holds its
// check byte too, so that each has one enable for all of its bits. Block RAMs are zero at power-up.
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
    output                [511:0] q,
    output                 [63:0] q_check
);
  genvar n;
  for (n = 0; n < 8; n = n + 1) begin : g_word
    (* ram_style = "block" *) reg [71:0] memory[0:LINES-1];
    reg [71:0] row;
    always @(posedge clk)
      if (enable) begin
        if (write) begin
          if (words[n]) memory[line] <= {check[8*n+:8], data[64*n+:64]};
        end else row <= memory[line];
      end
    assign q[64*n+:64] = row[63:0];
    assign q_check[8*n+:8] = row[71:64];
  end
endmodule
