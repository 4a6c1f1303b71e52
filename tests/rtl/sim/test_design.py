"""Verilog of components that is found in the cache."""

import gc
import warnings

import pytest
from d1_rtl.emit import mark_used
from d1_rtl.fpga.uart_node import UartNode
from d1_rtl.sim import design
from d1_rtl.sim.serial_board import SIMULATED_UART

from testbench.memory_node import MemoryNode


def convert():
    node = UartNode(MemoryNode(), SIMULATED_UART)
    return design.Design.of(node, name="uart_memory_node", design_key="")


def test_a_design_that_was_converted_before_is_found_and_nothing_warns(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("D1_CACHE", str(tmp_path))
    monkeypatch.setattr(design, "_STARTED", float("inf"))  # whatever was edited just before
    design._source_hash.cache_clear()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            first = convert()
            assert "elaborating uart_memory_node" in capsys.readouterr().err
            assert convert() == first
            assert capsys.readouterr().err == ""
            gc.collect()
        assert not caught
    finally:
        design._source_hash.cache_clear()


def test_a_component_of_other_source_code_has_no_key():
    node = MemoryNode()
    mark_used(node)
    with pytest.raises(ValueError, match="design_key must be None for a component of testbench"):
        design.Design.of(node, name="memory_node", design_key="")
