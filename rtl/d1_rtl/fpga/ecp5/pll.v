// The module of cells/pll.v as an EHXPLLL: the loop is closed over CLKOP, which has the frequency
// of the phase detector, and the clock is CLKOS.
// Ref: Lattice FPGA-TN-02200, "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide".
module d1_pll #(
    parameter INPUT_DIVIDER = 1,
    parameter FEEDBACK_DIVIDER = 1,
    parameter OUTPUT_DIVIDER = 1
) (
    input  clk,
    output o,
    output locked
);
  wire feedback;
  (* ICP_CURRENT = "12", LPF_RESISTOR = "8" *)
  (* MFG_ENABLE_FILTEROPAMP = "1", MFG_GMCREF_SEL = "2" *)
  EHXPLLL #(
      .PLLRST_ENA("DISABLED"),
      .INTFB_WAKE("DISABLED"),
      .STDBY_ENABLE("DISABLED"),
      .DPHASE_SOURCE("DISABLED"),
      .OUTDIVIDER_MUXA("DIVA"),
      .OUTDIVIDER_MUXB("DIVB"),
      .OUTDIVIDER_MUXC("DIVC"),
      .OUTDIVIDER_MUXD("DIVD"),
      .CLKI_DIV(INPUT_DIVIDER),
      .CLKFB_DIV(1),
      .CLKOP_ENABLE("ENABLED"),
      .CLKOP_DIV(FEEDBACK_DIVIDER),
      .CLKOP_CPHASE(FEEDBACK_DIVIDER - 1),
      .CLKOP_FPHASE(0),
      .CLKOS_ENABLE("ENABLED"),
      .CLKOS_DIV(OUTPUT_DIVIDER),
      .CLKOS_CPHASE(OUTPUT_DIVIDER - 1),
      .CLKOS_FPHASE(0),
      .FEEDBK_PATH("CLKOP")
  ) pll (
      .CLKI(clk),
      .CLKFB(feedback),
      .CLKOP(feedback),
      .CLKOS(o),
      .LOCK(locked),
      .RST(1'b0),
      .STDBY(1'b0),
      .PHASESEL0(1'b0),
      .PHASESEL1(1'b0),
      .PHASEDIR(1'b1),
      .PHASESTEP(1'b1),
      .PHASELOADREG(1'b1),
      .PLLWAKESYNC(1'b0),
      .ENCLKOP(1'b0),
      .ENCLKOS(1'b0)
  );
endmodule
