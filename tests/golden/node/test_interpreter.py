import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from d1_golden import isa
from d1_golden.node import interpreter
from d1_golden.node.interpreter import interpreter_source

#: Compiles `serve_packets` only: it takes seconds where `run` takes many.
READ_ONE_LINE = """
from d1_golden.node import GoldenNode
from d1_golden.node.interpreter import load_interpreter
from d1_golden.packet import read_requests
from d1_golden.params import preset
assert len(GoldenNode(preset("tiny")).exchange(read_requests(0, 64))) == 1
module = load_interpreter()
stats = module.serve_packets.stats
print(module.__file__, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_every_row_of_the_table_is_decoded_and_executed_once() -> None:
    source = interpreter_source()
    ast.parse(source)
    for number, row in enumerate(isa.INSTRUCTIONS, 1):
        assert source.count(f"if op == {number}:  # {row.name} ") == 1
        assert source.count(f":  # {row.name}\n        ") == 1


def test_a_word_outside_the_vocabulary_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    row = isa.Instruction("odd", isa.Extension.XD1, isa.Unit.ALU, 0x0B, 0x7F, "rd", "explode(a)")
    monkeypatch.setattr(interpreter, "INSTRUCTIONS", (row,))
    with pytest.raises(ValueError, match="function must be in the vocabulary, not 'explode'"):
        interpreter_source()


def test_the_module_is_named_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    name = interpreter._cache_key("a")
    assert interpreter._cache_key("b") != name
    assert interpreter._cache_key("a") == name
    monkeypatch.setattr(interpreter.numba, "__version__", "0")
    assert interpreter._cache_key("a") != name


def test_the_compiled_form_is_kept_for_the_next_process(tmp_path: Path) -> None:
    environment = {**os.environ, "D1_CACHE": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", READ_ONE_LINE],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout.split()
        for _ in range(2)
    )
    assert Path(first[0]).parent == tmp_path / "golden"
    assert first[0] == second[0]
    assert first[1:] == ["0", "1"]
    assert second[1:] == ["1", "0"]
    assert not list(tmp_path.rglob("*.tmp"))
