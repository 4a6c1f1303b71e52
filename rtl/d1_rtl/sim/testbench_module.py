"""The top module of what is simulated: the design behind registers that take changed inputs.

Verilator computes everything behind the inputs of a top module at each call, twice a clock cycle,
whether one of them has changed or not; in a node that is a third of the time. Behind a register
that is clocked by the change it computes that once, when there is one. The registers take no time:
what is written to a port is there when the call returns, if the clock does not rise in the same
call. In one that changes inputs and has a rising edge, registers of the design take the old values.
"""

from collections.abc import Sequence

from d1_rtl.emit import Port

__all__ = ["TESTBENCH", "public_ports", "testbench_module"]

#: Name of the module, and of the root of the hierarchy of a simulation.
TESTBENCH = "d1_testbench"


def testbench_module(name: str, ports: Sequence[Port]) -> str:
    """Return the Verilog of a module with an instance of the module `name` and all its ports."""
    inputs = [port for port in ports[1:] if port.is_input]
    lines = [f"module {TESTBENCH}({', '.join(map(_name, ports))});"]
    for port in ports:
        lines.append(f"  {'input' if port.is_input else 'output'} {_range(port)}{_name(port)};")
    lines += [f"  reg {_range(port)}{_register(port)};" for port in inputs]
    now, before = (", ".join(map(name_of, inputs)) for name_of in (_name, _register))
    lines += [
        f"  wire d1_changed = {{{now}}} != {{{before}}};",
        f"  always @(posedge d1_changed) {{{before}}} <= {{{now}}};",
    ]
    connections = [
        f".{_name(port)}({_register(port) if port in inputs else _name(port)})" for port in ports
    ]
    lines.append(f"  {name} {name}({', '.join(connections)});")
    return "\n".join([*lines, "endmodule", ""])


def public_ports(ports: Sequence[Port]) -> str:
    """Return the lines of a configuration of Verilator by which drivers reach the ports.

    Outputs cannot be written: Verilator would have to compute anew what depends on them.
    """
    return "".join(
        f'public_flat_{"rw" if port.is_input else "rd"} -module "{TESTBENCH}" -var "{port.name}"\n'
        for port in ports
    )


def _range(port: Port) -> str:
    return f"[{port.width - 1}:0] " if port.width > 1 else ""


def _name(port: Port) -> str:
    return f"\\{port.name} "  # so that it may be a word of Verilog


def _register(port: Port) -> str:
    return f"d1_now_{port.name}"
