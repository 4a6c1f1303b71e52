// The module of cells/sram.v in block RAMs of an ECP5: memories for each word, which hold its
// check byte too, so that each has one enable for all of its bits. A memory is so narrow that one
// block RAM has all its lines: what is read is not chosen among several, which would be four times
// the wires. Block RAMs are zero at power-up.
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
  localparam WIDTH = LINES > 8192 ? 1 : LINES > 4096 ? 2 : LINES > 2048 ? 4 : 72;
  genvar n, part;
  for (n = 0; n < 8; n = n + 1) begin : g_word
    wire [71:0] value = {check[8*n+:8], data[64*n+:64]};
    reg  [71:0] row;
    for (part = 0; part < 72; part = part + WIDTH) begin : g_part
      (* ram_style = "block" *) reg [WIDTH-1:0] memory[0:LINES-1];
      always @(posedge clk)
        if (enable) begin
          if (write) begin
            if (words[n]) memory[line] <= value[part+:WIDTH];
          end else row[part+:WIDTH] <= memory[line];
        end
    end
    assign q[64*n+:64] = row[63:0];
    assign q_check[8*n+:8] = row[71:64];
  end
endmodule
