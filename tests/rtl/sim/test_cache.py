"""The build cache: hits, interruption, parallel builders, progress."""

import fcntl
import multiprocessing
import re
import time

import pytest
from d1_rtl.sim import cache


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("D1_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(text):
    return lambda folder: (folder / "product").write_text(text)


def test_what_was_built_is_not_built_again():
    first = cache.build("kind", "name", ["a", b"b"], write("one"))
    assert cache.build("kind", "name", ["a", b"b"], write("two")) == first
    assert (first / "product").read_text() == "one"


@pytest.mark.parametrize("inputs", [["a", "c"], ["ab"], ["a"], ["b", "a"]])
def test_other_inputs_are_another_entry(inputs):
    first = cache.build("kind", "name", ["a", "b"], write("one"))
    second = cache.build("kind", "name", inputs, write("two"))
    assert (first / "product").read_text() == "one"
    assert (second / "product").read_text() == "two"


def test_a_build_that_fails_leaves_nothing(empty_cache):
    def fail(folder):
        (folder / "product").write_text("half")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cache.build("kind", "name", ["a"], fail)
    assert [path for path in empty_cache.rglob("*") if path.name == "product"] == []
    assert (cache.build("kind", "name", ["a"], write("whole")) / "product").read_text() == "whole"


def test_what_a_killed_builder_left_is_not_used():
    entry = cache.build("kind", "name", ["a"], write("whole"))
    partial = entry.with_suffix(".partial")
    entry.rename(partial)
    (partial / "leftover").touch()
    cache.build("kind", "name", ["a"], write("again"))
    assert [path.name for path in entry.iterdir()] == ["product"]
    assert (entry / "product").read_text() == "again"


def build_slowly(log):
    def make(folder):
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.5)
        (folder / "product").write_text("whole")

    entry = cache.build("kind", "name", ["a"], make)
    with log.open("a") as file:
        file.write((entry / "product").read_text() + "\n")


def test_of_two_processes_one_builds_and_both_get_the_result(tmp_path):
    log = tmp_path / "log"
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=build_slowly, args=(log,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == ["built", "whole", "whole"]


def test_waiting_for_another_builder_has_an_end(monkeypatch, capsys):
    entry = cache.build("kind", "name", ["a"], write("whole"))
    entry.rename(entry.with_suffix(".gone"))
    monkeypatch.setattr(cache, "LOCK_TIMEOUT_S", 0.2)
    with entry.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match=r"waited 0\.2 s for another process .* name"):
            cache.build("kind", "name", ["a"], write("whole"))
    assert "waiting for another process that builds name" in capsys.readouterr().err


def test_clean_removes_everything_and_says_how_much(empty_cache):
    cache.build("kind", "name", ["a"], write("x" * 1000))
    assert cache.clean() >= 1000
    assert not empty_cache.exists()


def test_without_configuration_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("D1_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.root() == tmp_path / "d1-machine"


def estimate(capsys, size):
    progress = cache.BuildProgress("model", size)
    progress.close(complete=False)
    pattern = r"building model: 0% of objects, about (\d+) s \(first time; cached afterwards\)"
    return int(re.fullmatch(pattern, capsys.readouterr().err.strip())[1])


def test_the_estimate_follows_earlier_builds(empty_cache, capsys):
    empty_cache.mkdir()
    assert estimate(capsys, 10_000_000) == 10 * cache.DEFAULT_S_PER_MB
    history = '{"name": "model", "source_bytes": 5000000, "seconds": 300}\n'
    (empty_cache / "history.jsonl").write_text(5 * history)
    assert 500 < estimate(capsys, 10_000_000) <= 600
