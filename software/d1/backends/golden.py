"""The golden model as a device: bit-exact, one instruction a cycle, no build."""

from __future__ import annotations

from d1_golden.fabric.golden_die import GoldenDie
from d1_golden.fabric.golden_machine import GoldenMachine
from d1_golden.machine import MachineParams
from d1_golden.node import GoldenNode
from d1_golden.params import DieParams, NodeParams

from d1.link import DieLink, Link, MachineLink

__all__ = ["open_die_link", "open_link", "open_machine_link"]


def open_link(params: NodeParams) -> Link:
    """Return a link to a new golden node."""
    return GoldenNode(params)


def open_die_link(params: DieParams) -> DieLink:
    """Return a link to a new golden die."""
    return GoldenDie(params)


def open_machine_link(params: MachineParams, *, processes: bool = False) -> MachineLink:
    """Return a link to a new golden machine, which has one process in any case."""
    return GoldenMachine(params)
