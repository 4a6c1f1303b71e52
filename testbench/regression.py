"""Randomised regression: the same random programs on the RTL and on the golden node.

Every case is one seed. It makes a program for each thread, runs them on the golden node and on the
Verilated node while packets read and write the same SRAM, and compares every retired instruction
with its result, every register, the data windows and how the threads ended. A failure is shrunk to
the threads and instructions that matter and printed with the command that replays it with a
waveform.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from d1_golden.isa import INSTRUCTIONS, decode
from d1_golden.memory_map import (
    COUNTER_BASE,
    COUNTER_LINES,
    CounterRegister,
    StallCause,
    ThreadStatus,
    stall_counter,
)
from d1_golden.packet import PACKET_DTYPE, Opcode, read_requests, write_requests
from d1_golden.params import LINE_BYTES, PRESETS, NodeParams, preset
from d1_rtl.node.node import Node
from d1_rtl.sim.model import trace_format
from d1_rtl.sim.node_link import NodeLink
from d1_rtl.sim.on_fpga import OnFpga
from d1_rtl.sim.retire_order import TraceError
from d1_rtl.turns import CYCLE_CLOCKS
from numpy.typing import NDArray

from .checker import (
    CYCLES_PER_INSTRUCTION,
    Mismatch,
    Outcome,
    compare,
    memory_image,
    run_golden,
    thread_states,
)
from .workload import CASE_LENGTH, Case, Workload

__all__ = [
    "NativeNode",
    "Regression",
    "TrafficError",
    "check_case",
    "main",
    "run_cases",
    "unseen_instructions",
    "unseen_stalls",
]

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
    coverage
        Whether branches are counted; this is a slower build of its own.
    on_fpga
        Whether its cycles have several clocks, as on an FPGA.

    """

    def __init__(
        self,
        params: NodeParams,
        *,
        waves: bool = False,
        coverage: bool = False,
        on_fpga: bool = False,
    ) -> None:
        #: Parameters of the node.
        self.params = params
        #: Thread-cycles without issue, by cause, of all runs.
        self.stalls: Counter[StallCause] = Counter()
        self._clocks = CYCLE_CLOCKS if on_fpga else 1
        #: The simulated node behind its packet door.
        self.link = NodeLink(
            OnFpga(Node(params, gated=False), in_turns=False) if on_fpga else Node(params),
            name=f"node_{params.name}",
            design_key=repr(params),
            trace=waves,
            coverage=coverage,
            retire_capacity=1 << 20,
            stall_probability=0.1,
        )

    def run(
        self,
        workload: Workload,
        *,
        traffic: bool,
        wave: tuple[Path, int, int] | None = None,
    ) -> Outcome:
        """Run a workload from reset; the trace's `cycle` counts from there.

        Parameters
        ----------
        workload
            What to run.
        traffic
            Whether random packets go in and out meanwhile.
        wave
            File, first and last cycle of a waveform.

        """
        link, limit = self.link, self._clocks * CYCLES_PER_INSTRUCTION * workload.max_instructions
        link.reset()
        link.take_retired()
        start = link.cycles
        if wave is not None:
            path, first, last = wave
            link.trace(path, start + first, start + last)
        requests = np.concatenate([workload.load_requests(), workload.start_requests()])
        link.exchange(requests, self._clocks * (20 * len(requests) + 1000))
        if traffic:
            self._interfere(workload, limit)
        with contextlib.suppress(TimeoutError):  # the comparison shows how far it came
            link.run(limit)
        retired, dropped = link.take_retired()
        assert dropped == 0, f"retire_capacity must hold {len(retired) + dropped} instructions"
        retired["cycle"] -= start
        self._count_stalls()
        image = memory_image(link, workload.end, clocks=self._clocks)
        return Outcome(retired, thread_states(link, workload), image)

    def _count_stalls(self) -> None:
        requests = read_requests(COUNTER_BASE, COUNTER_LINES * LINE_BYTES)
        lines = self.link.exchange(requests, self._clocks * 1000)
        counters = lines["data"].reshape(-1).view(np.uint64)
        assert counters[CounterRegister.CYCLES], "a workload must take cycles"
        for cause in StallCause:
            self.stalls[cause] += int(counters[stall_counter(cause)])

    def _interfere(self, workload: Workload, limit: int) -> None:
        """Read anywhere and write behind the programs until the node is idle.

        What is read of the lines that only these packets write must be what they wrote.
        """
        rng = random.Random(workload.seed)
        first, lines = workload.end // LINE_BYTES, self.params.sram_bytes // LINE_BYTES
        scratch = np.zeros((_SCRATCH_LINES, LINE_BYTES), np.uint8)
        self.link.exchange(write_requests(workload.end, scratch), limit)
        deadline = self.link.cycles + limit
        while not self.link.get("idle") and self.link.cycles < deadline:
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
            self._compare_replies(self.link.exchange(packets, 10_000), expected)
            self.link.advance(rng.randrange(30))

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
        self.link.close()


def _difference(
    workload: Workload, golden: Outcome, node: NativeNode, *, traffic: bool
) -> Mismatch | None:
    """Run a workload on the RTL and compare; wrong and missing replies are differences too.

    So is a trace that contradicts itself.
    """
    try:
        return compare(workload, golden, node.run(workload, traffic=traffic))
    except (TimeoutError, TrafficError, TraceError) as error:
        return Mismatch(str(error), type(error).__name__)


def check_case(case: Case, node: NativeNode, counts: Counter[str]) -> Mismatch | None:
    """Run a case and compare; count the rows of the ISA table that retire."""
    workload = case.workload()
    golden = run_golden(workload)
    for word in golden.retired["insn"]:
        row = decode(int(word))
        assert row is not None, f"golden must retire instructions only, not {word:#010x}"
        counts[row.name] += 1
    return _difference(workload, golden, node, traffic=case.traffic)


def _report_failure(case: Case, node: NativeNode, mismatch: Mismatch) -> str:
    """Return what a person wants to know of a failure."""

    def fails(workload: Workload) -> bool:
        golden = run_golden(workload)
        if any(state[0] == ThreadStatus.RUNNING for state in golden.states.values()):
            return False
        smaller = _difference(workload, golden, node, traffic=case.traffic)
        return smaller is not None and smaller.kind == mismatch.kind

    small = case.workload().shrink(fails)
    place = f"PRESET={case.params.name} SEED={case.seed} LENGTH={case.length} N=1"
    replay = f"make regression {place} WAVES=build/regression"
    return "\n".join(
        (
            f"preset {case.params.name}, seed {case.seed}, length {case.length}: {mismatch.text}",
            "these instructions are enough:",
            small.listing(),
            f"replay with a waveform: {replay}",
        )
    )


def _write_wave(case: Case, mismatch: Mismatch, path: Path, *, on_fpga: bool) -> None:
    """Write the cycles around a failure."""
    middle = mismatch.cycle or 0
    path = path.with_suffix(f".{trace_format()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    node = NativeNode(case.params, waves=True, on_fpga=on_fpga)
    window = (path, max(0, middle - 200), middle + 100) if mismatch.cycle else (path, 0, 10_000)
    with contextlib.suppress(
        TimeoutError, TrafficError, TraceError
    ):  # the failure may be in packets
        node.run(case.workload(), traffic=case.traffic, wave=window)
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


class Regression(NamedTuple):
    """What came of some cases.

    Members
    -------
    results
        Each case, its seconds, and the report of its failure or nothing.
    failures
        The cases that failed, with their first difference.
    instructions
        How often each row of the ISA table retired, by name.
    stalls
        Thread-cycles without issue, by cause.
    """

    results: list[tuple[Case, float, str]]
    failures: list[tuple[Case, Mismatch]]
    instructions: Counter[str]
    stalls: Counter[StallCause]


def unseen_instructions(counts: Counter[str], least: int = 1) -> list[str]:
    """Return the rows of the ISA table that retired less than `least` times."""
    return [
        row.name
        for row in INSTRUCTIONS
        if counts[row.name] < least and row.name not in _NEVER_RETIRE
    ]


def unseen_stalls(counts: Counter[StallCause], least: int = 1) -> list[str]:
    """Return the causes that stalled a thread in less than `least` cycles."""
    return [cause.name.lower() for cause in StallCause if counts[cause] < least]


def run_cases(
    params: NodeParams,
    seeds: Iterable[int],
    *,
    traffic: bool = True,
    length: int = CASE_LENGTH,
    instructions: int | None = None,
    on_fpga: bool = False,
) -> Regression:
    """Run one case for each seed.

    Parameters
    ----------
    params
        The node.
    seeds
        Of the cases.
    traffic
        Whether packets read and write beside the programs.
    length
        Of each program, in instructions as written.
    instructions
        Stop before the seeds end as soon as this many have retired on the golden node.
    on_fpga
        As of `NativeNode`.

    """
    node = NativeNode(params, on_fpga=on_fpga)
    counts: Counter[str] = Counter()
    results, failures = [], []
    for number, seed in enumerate(seeds, 1):
        case = Case(params, seed, traffic=traffic, length=length)
        begin, text = time.perf_counter(), ""
        mismatch = check_case(case, node, counts)
        if mismatch is not None:
            text = _report_failure(case, node, mismatch)
            failures.append((case, mismatch))
            print(text)
        results.append((case, time.perf_counter() - begin, text))
        if sys.stderr.isatty():
            done = f"{number} cases, {counts.total()} instructions, {len(failures)} failed"
            print(f"\r{done} ", end="", file=sys.stderr)
        if instructions is not None and counts.total() >= instructions:
            break
    if sys.stderr.isatty():
        print(file=sys.stderr)
    node.close()
    return Regression(results, failures, counts, node.stalls)


def _coverage(regression: Regression) -> Iterable[str]:
    """Yield the coverage table: every row of the ISA table and every cause of a stall."""
    names = [row.name for row in INSTRUCTIONS if row.name not in _NEVER_RETIRE]
    cells = [f"{name:<17}{regression.instructions[name]:>8}" for name in names]
    yield f"{regression.instructions.total()} instructions retired"
    yield from ("   ".join(cells[n : n + 4]) for n in range(0, len(cells), 4))
    yield "thread-cycles without issue"
    yield from (f"{c.name.lower():<17}{regression.stalls[c]:>8}   {c.doc}" for c in StallCause)


def _write_record(path: Path, params: NodeParams, length: int, regression: Regression) -> None:
    """Enter what came of the cases into a file of records, one for each preset."""
    rows = [row.name for row in INSTRUCTIONS if row.name not in _NEVER_RETIRE]
    seeds = [case.seed for case, _, _ in regression.results]
    records = json.loads(path.read_text()) if path.exists() else {}
    records[params.name] = {
        "first_seed": seeds[0],
        "cases": len(seeds),
        "length": length,
        "instructions": regression.instructions.total(),
        "failed": len(regression.failures),
        "rarest_row": min((regression.instructions[name], name) for name in rows),
        "rarest_stall": min((regression.stalls[c], c.name.lower()) for c in StallCause),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records, indent=2, sort_keys=True) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the regression from the command line; return 1 if a case failed."""
    parser = argparse.ArgumentParser(prog="d1 regression", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first case")
    parser.add_argument("--count", type=int, default=20, help="number of cases")
    parser.add_argument(
        "--length", type=int, default=CASE_LENGTH, help="instructions of each program, about"
    )
    parser.add_argument(
        "--instructions", type=int, help="run cases until this many have retired, not --count"
    )
    parser.add_argument(
        "--least",
        type=int,
        default=0,
        help="fail if a row of the ISA table, or a cause of a stall, was seen less often",
    )
    parser.add_argument("--record", type=Path, help="JSON to enter the counts of the preset into")
    parser.add_argument("--no-traffic", action="store_true", help="no packets beside the programs")
    parser.add_argument(
        "--on-fpga",
        action="store_true",
        help="the node as on an FPGA: cycles of several clocks",
    )
    parser.add_argument("--junit", type=Path, default=Path("build/junit/regression.xml"))
    parser.add_argument(
        "--waves", type=Path, help="write a waveform of the first failure; .vcd or .fst is added"
    )
    args = parser.parse_args(arguments)
    if args.count <= 0:
        parser.error(f"--count must be positive, not {args.count}")
    if args.length <= 0:
        parser.error(f"--length must be positive, not {args.length}")
    if args.record is not None and args.on_fpga:
        parser.error("--record must be without --on-fpga: records are of simulated nodes")
    params, seeds = preset(args.preset), range(args.seed, args.seed + args.count)
    if args.instructions is None:
        print(f"regression of preset {args.preset}, seeds {seeds.start}..{seeds.stop - 1}")
    else:
        print(f"regression of preset {args.preset}, {args.instructions} instructions")
    regression = run_cases(
        params,
        seeds if args.instructions is None else itertools.count(args.seed),
        traffic=not args.no_traffic,
        length=args.length,
        instructions=args.instructions,
        on_fpga=args.on_fpga,
    )
    results, failures = regression.results, regression.failures
    if args.record is not None:
        _write_record(args.record, params, args.length, regression)
    _write_junit(args.junit, f"regression.{args.preset}", results)
    if failures and args.waves is not None:
        _write_wave(*failures[0], args.waves, on_fpga=args.on_fpga)
    print("\n".join(_coverage(regression)))
    least = max(1, args.least)
    unseen = [
        *unseen_instructions(regression.instructions, least),
        *unseen_stalls(regression.stalls, least),
    ]
    if unseen:
        print(f"seen less than {least} times: {' '.join(unseen)}")
    print(f"{len(results) - len(failures)} passed, {len(failures)} failed")
    return 1 if failures or (args.least and unseen) else 0


if __name__ == "__main__":
    sys.exit(main())
