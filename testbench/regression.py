"""Randomised regression: the same random programs on the RTL and on the golden node.

Every case is one seed. It makes a program, runs it on the golden node and on the Verilated node
while packets read and write the same SRAM, and compares every retired instruction with its result,
every register, the data window and how the thread ended. A failure is shrunk to the instructions
that matter and printed with the command that replays it with a waveform.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from d1_golden.isa import INSTRUCTIONS, decode
from d1_golden.memory_map import ThreadStatus
from d1_golden.node.random_programs import RandomProgram, shrink
from d1_golden.packet import PACKET_DTYPE, Opcode, write_requests
from d1_golden.params import LINE_BYTES, PRESETS, NodeParams, preset
from d1_rtl.node.node import Node
from d1_rtl.sim.model import trace_format
from d1_rtl.sim.node_link import NodeLink
from numpy.typing import NDArray

from .checker import (
    CYCLES_PER_INSTRUCTION,
    Case,
    Mismatch,
    Outcome,
    compare,
    memory_image,
    run_golden,
    start_requests,
    thread_state,
)

__all__ = ["NativeNode", "TrafficError", "main", "run_cases", "unseen_instructions"]

#: Instructions that always trap, so that they are never in the trace of retired ones.
_NEVER_RETIRE = frozenset({"ecall", "ebreak"})
#: Lines behind a program that the traffic of a case writes to.
_SCRATCH_LINES = 16


class TrafficError(RuntimeError):
    """Packets beside a program read what they did not write."""


class NativeNode:
    """The Verilated node of one preset, used for case after case.

    Parameters
    ----------
    params
        The node.
    waves
        Whether waveforms can be written; this is a slower build of its own.

    """

    def __init__(self, params: NodeParams, *, waves: bool = False) -> None:
        #: Parameters of the node.
        self.params = params
        self._link = NodeLink(
            Node(params),
            name=f"node_{params.name}",
            design_key=repr(params),
            trace=waves,
            retire_capacity=1 << 20,
            stall_probability=0.1,
        )

    def run(
        self,
        program: RandomProgram,
        *,
        traffic: bool,
        wave: tuple[Path, int, int] | None = None,
    ) -> Outcome:
        """Run a program from reset; the trace's `cycle` counts from there.

        Parameters
        ----------
        program
            What to run.
        traffic
            Whether random packets go in and out meanwhile.
        wave
            File, first and last cycle of a waveform.

        """
        link, limit = self._link, CYCLES_PER_INSTRUCTION * program.max_instructions
        link.reset()
        link.take_retired()
        start = link.cycles
        if wave is not None:
            path, first, last = wave
            link.trace(path, start + first, start + last)
        requests = np.concatenate([program.requests(), start_requests(program)])
        link.exchange(requests, 20 * len(requests) + 1000)
        if traffic:
            self._interfere(program, limit)
        with contextlib.suppress(TimeoutError):  # the comparison shows how far it came
            link.run(limit)
        retired, dropped = link.take_retired()
        assert dropped == 0, f"retire_capacity must hold {len(retired) + dropped} instructions"
        retired["cycle"] -= start
        return Outcome(retired, thread_state(link), memory_image(link, program.end))

    def _interfere(self, program: RandomProgram, limit: int) -> None:
        """Read anywhere and write behind the program until the node is idle.

        What is read of the lines that only these packets write must be what they wrote.
        """
        rng = random.Random(program.seed)
        first, lines = program.end // LINE_BYTES, self.params.sram_bytes // LINE_BYTES
        scratch = np.zeros((_SCRATCH_LINES, LINE_BYTES), np.uint8)
        self._link.exchange(write_requests(program.end, scratch), limit)
        deadline = self._link.cycles + limit
        while not self._link.get("idle") and self._link.cycles < deadline:
            count = rng.randint(1, 24)
            packets = np.zeros(count, PACKET_DTYPE)
            packets["tag"] = np.arange(count)
            expected: list[bytes | None] = []
            for packet in packets:
                place = rng.randrange(_SCRATCH_LINES)
                line = first + place
                if rng.random() < 0.5:
                    known = rng.random() < 0.5
                    packet["opcode"] = Opcode.READ
                    line = line if known else rng.randrange(lines)
                    expected.append(scratch[place].tobytes() if known else None)
                else:
                    packet["opcode"], packet["mask"] = Opcode.WRITE, rng.getrandbits(64)
                    packet["data"] = np.frombuffer(rng.randbytes(LINE_BYTES), np.uint8)
                    written = np.unpackbits(packet["mask"].reshape(1).view("u1"), bitorder="little")
                    np.copyto(scratch[place], packet["data"], where=written != 0)
                packet["address"] = line * LINE_BYTES
            self._compare_replies(self._link.exchange(packets, 10_000), expected)
            self._link.advance(rng.randrange(30))

    @staticmethod
    def _compare_replies(replies: NDArray[np.void], expected: list[bytes | None]) -> None:
        if len(replies) != len(expected):
            raise TrafficError(f"{len(expected)} packets must be answered, not {len(replies)}")
        for reply, line in zip(replies, expected, strict=True):
            if line is not None and reply["data"].tobytes() != line:
                raise TrafficError(
                    f"packets must read {line.hex()} at {int(reply['address']):#x}, "
                    f"not {reply['data'].tobytes().hex()}"
                )

    def close(self) -> None:
        """Free the simulation."""
        self._link.close()


def _difference(
    program: RandomProgram, golden: Outcome, node: NativeNode, *, traffic: bool
) -> Mismatch | None:
    """Run a program on the RTL and compare; wrong and missing replies are differences too."""
    try:
        return compare(program, golden, node.run(program, traffic=traffic))
    except (TimeoutError, TrafficError) as error:
        return Mismatch(str(error))


def _check(case: Case, node: NativeNode, counts: Counter[str]) -> Mismatch | None:
    program = case.program()
    golden = run_golden(program)
    for word in golden.retired["insn"]:
        row = decode(int(word))
        assert row is not None, f"golden must retire instructions only, not {word:#010x}"
        counts[row.name] += 1
    return _difference(program, golden, node, traffic=case.traffic)


def _report_failure(case: Case, node: NativeNode, mismatch: Mismatch) -> str:
    """Return what a person wants to know of a failure."""

    def fails(program: RandomProgram) -> bool:
        golden = run_golden(program)
        if golden.state[0] == ThreadStatus.RUNNING:
            return False
        return _difference(program, golden, node, traffic=case.traffic) is not None

    small = shrink(case.program(), fails)
    place = f"PRESET={case.params.name} SEED={case.seed} N=1"
    replay = f"make regression {place} WAVES=build/regression"
    return "\n".join(
        (
            f"preset {case.params.name}, seed {case.seed}: {mismatch.text}",
            "these instructions are enough:",
            small.listing() or "(none: the set-up or the dump fails)",
            f"replay with a waveform: {replay}",
        )
    )


def _write_wave(case: Case, mismatch: Mismatch, path: Path) -> None:
    """Write the cycles around a failure."""
    middle = mismatch.cycle or 0
    path = path.with_suffix(f".{trace_format()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    node = NativeNode(case.params, waves=True)
    window = (path, max(0, middle - 200), middle + 100) if mismatch.cycle else (path, 0, 10_000)
    with contextlib.suppress(TimeoutError, TrafficError):  # the failure may be in packets
        node.run(case.program(), traffic=case.traffic, wave=window)
    node.close()
    print(f"waveform of cycles {window[1]}..{window[2]}: {path}")


def _write_junit(path: Path, name: str, results: Sequence[tuple[Case, float, str]]) -> None:
    suite = ElementTree.Element(
        "testsuite",
        name=name,
        tests=str(len(results)),
        failures=str(sum(1 for _, _, failure in results if failure)),
        time=f"{sum(seconds for _, seconds, _ in results):.3f}",
    )
    for case, seconds, failure in results:
        test = ElementTree.SubElement(
            suite, "testcase", classname=name, name=f"seed_{case.seed}", time=f"{seconds:.3f}"
        )
        if failure:
            ElementTree.SubElement(test, "failure", message=failure.splitlines()[0]).text = failure
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def unseen_instructions(counts: Counter[str]) -> list[str]:
    """Return the rows of the ISA table that no program has retired."""
    return [
        row.name for row in INSTRUCTIONS if not counts[row.name] and row.name not in _NEVER_RETIRE
    ]


def run_cases(
    params: NodeParams, seeds: Sequence[int], *, traffic: bool = True
) -> tuple[list[tuple[Case, float, str]], list[tuple[Case, Mismatch]], Counter[str]]:
    """Run one case for each seed; return results, mismatches and retired instructions by name."""
    node = NativeNode(params)
    counts: Counter[str] = Counter()
    results, failures = [], []
    for number, seed in enumerate(seeds, 1):
        case, begin, text = Case(params, seed, traffic=traffic), time.perf_counter(), ""
        mismatch = _check(case, node, counts)
        if mismatch is not None:
            text = _report_failure(case, node, mismatch)
            failures.append((case, mismatch))
            print(text)
        results.append((case, time.perf_counter() - begin, text))
        if sys.stderr.isatty():
            print(f"\r{number} of {len(seeds)}, {len(failures)} failed ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    node.close()
    return results, failures, counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the regression from the command line; return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="d1 regression", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first case")
    parser.add_argument("--count", type=int, default=20, help="number of cases")
    parser.add_argument("--no-traffic", action="store_true", help="no packets beside the programs")
    parser.add_argument("--junit", type=Path, default=Path("build/junit/regression.xml"))
    parser.add_argument(
        "--waves", type=Path, help="write a waveform of the first failure; .vcd or .fst is added"
    )
    args = parser.parse_args(arguments)
    if args.count <= 0:
        parser.error(f"--count must be positive, not {args.count}")
    seeds = range(args.seed, args.seed + args.count)
    print(f"regression of preset {args.preset}, seeds {seeds.start}..{seeds.stop - 1}")
    results, failures, counts = run_cases(preset(args.preset), seeds, traffic=not args.no_traffic)
    _write_junit(args.junit, f"regression.{args.preset}", results)
    if failures and args.waves is not None:
        _write_wave(*failures[0], args.waves)
    unseen = unseen_instructions(counts)
    print(f"{counts.total()} instructions retired, {len(INSTRUCTIONS) - len(unseen)} of "
          f"{len(INSTRUCTIONS)} rows of the ISA table seen")  # fmt: skip
    if unseen:
        print(f"not seen: {' '.join(unseen)}")
    print(f"{len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
