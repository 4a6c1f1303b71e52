from pathlib import Path

import pytest
from d1.compiler import cache, kernel
from d1.compiler.choice import choose_schedule
from d1.compiler.schedule import Schedule
from d1_golden.numerics import BF16
from d1_golden.params import PRESETS


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Schedule:
    monkeypatch.setenv("D1_CACHE", str(tmp_path))
    cache.program.cache_clear()
    return choose_schedule(PRESETS["tiny"], 1, 3, 4, 5, BF16)[0]


def files() -> list[Path]:
    return list(cache.kernel_cache_dir().iterdir())


def test_a_program_is_generated_once_and_then_read_from_disk(wanted, monkeypatch):
    generated = []
    monkeypatch.setattr(
        kernel, "generate", lambda s, make=kernel.generate: generated.append(s) or make(s)
    )
    first = cache.program(wanted)
    cache.program.cache_clear()
    assert cache.program(wanted) == first
    assert generated == [wanted]
    assert len(files()) == 1


def test_a_damaged_file_is_generated_again(wanted):
    first = cache.program(wanted)
    (path,) = files()
    path.write_bytes(path.read_bytes()[:-4])
    cache.program.cache_clear()
    assert cache.program(wanted) == first
    assert path.read_bytes()[32:] == first


def test_schedules_have_files_of_their_own(wanted):
    other = choose_schedule(PRESETS["tiny"], 1, 3, 4, 6, BF16)[0]
    assert cache.program(wanted) != cache.program(other)
    assert len(files()) == 2


def test_without_a_folder_to_write_to_programs_are_still_generated(wanted, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("D1_CACHE", str(blocked))
    assert cache.program(wanted) == kernel.generate(wanted)
