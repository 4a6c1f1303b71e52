# amaranth: UnusedElaboratable=no
"""The monitor of the retire trace under cocotb."""

from pathlib import Path

from d1_golden.params import preset
from d1_rtl.sim.cocotb_runner import run_cocotb

from testbench.trace_player import TracePlayer


def test_the_monitor_records_every_slot_and_joins_late_values(tmp_path: Path) -> None:
    result = run_cocotb(
        TracePlayer(preset("d1")),
        name="trace_player",
        test_module="testbench.tb_retire",
        seed=1,
        directory=tmp_path,
    )
    assert len(result.tests) == 1
