"""Write the generated tables and curves of docs/, and the header for C, from what they show.

A table stands between `<!-- NAME -->` and `<!-- end -->`; NAME is a key of SECTIONS.
With --check nothing is written, and the exit code is 1 if a file is out of date.
"""

import argparse
import ast
import contextlib
import enum
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from d1 import fpga_figures, gpt_figures
from d1.c_header import HEADER, c_header
from d1.link_figures import MODELS, PICTURE, curves, read_figures, read_soak
from d1.pipeline_figures import read_pipeline_figures, steady
from d1_golden import isa, packet, transfer
from d1_golden.csr import CSRS, Cause
from d1_golden.fpga import frame as uart_frame
from d1_golden.isa import INSTRUCTIONS, OPERANDS, Extension, Instruction, Operand, Unit
from d1_golden.memory_map import REGISTERS, Command, ThreadStatus
from d1_golden.params import PRESETS
from d1_golden.serdes import frame
from d1_golden.serdes.link_end import LANE_COUNTERS
from d1_golden.serdes.link_layer import COUNTERS
from d1_golden.serdes.params import LINKS
from d1_golden.serdes.undetected_errors import undetected_probability, undetected_sets

from testbench import core_timing

ROOT = Path(__file__).parents[1]
#: The tables of Xd1's meanings, by what executes an instruction.
XD1_FAMILIES: dict[str, tuple[Unit, ...]] = {
    "memory": (
        Unit.VECTOR_LOAD,
        Unit.VECTOR_STORE,
        Unit.VECTOR_GATHER,
        Unit.VECTOR_SCATTER,
    ),
    "convert": (Unit.VECTOR_CONVERT,),
    "lanes": (Unit.VECTOR_SIMD,),
    "move": (Unit.VECTOR_MOVE,),
    "matrix": (Unit.MATRIX, Unit.MATRIX_READ, Unit.MATRIX_MEMORY),
    "communication": (Unit.TRANSFER, Unit.SEMAPHORE, Unit.LINK),
}
SECTION = re.compile(r"<!-- ([a-z0-9 ]+) -->\n(.*?)<!-- end -->", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(str(cell) for cell in line)} |\n" for line in lines)


def fill(text: str, sections: dict[str, Callable[[], str]]) -> str:
    """Return a page with the sections named in `sections` written anew, the others as they are."""

    def write(match: re.Match[str]) -> str:
        name = match[1]
        body = f"\n{sections[name]()}\n" if name in sections else match[2]
        return f"<!-- {name} -->\n{body}<!-- end -->"

    return SECTION.sub(write, text)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`" if text else ""


def _fields(fields: Iterable[packet.Field]) -> str:
    rows = []
    lsb = 0
    for field in fields:
        rows.append((f"{lsb + field.bits - 1}..{lsb}", _code(field.name), field.doc))
        lsb += field.bits
    return table(("bits", "field", "meaning"), rows)


def _descriptor_fields() -> str:
    rows = []
    first = 0
    for field in transfer.DESCRIPTOR_FIELDS:
        last = first + field.bits // 8 - 1
        rows.append(
            (f"{first}" if first == last else f"{first}..{last}", _code(field.name), field.doc)
        )
        first = last + 1
    return table(("bytes", "field", "meaning"), rows)


def _enumeration(members: Iterable[enum.Enum]) -> str:
    return table(("value", "name"), ((m.value, m.name) for m in members))


def _packet_opcodes() -> str:
    return _enumeration(packet.Opcode)


def _serdes_registers() -> str:
    """Return the registers of a link's end."""
    rows = (
        (f"{r.address:#08x}", _code(r.name), r.access.value, r.doc)
        for r in REGISTERS
        if r.name.startswith("serdes.")
    )
    return table(("offset", "register", "access", "meaning"), rows)


def _control_registers() -> str:
    rows = ((f"{r.address:#08x}", _code(r.name), r.access.value, r.doc) for r in REGISTERS)
    commands = ", ".join(f"{c.value} {c.name}" for c in Command)
    statuses = ", ".join(f"{s.value} {s.name}" for s in ThreadStatus)
    return (
        table(("offset", "register", "access", "meaning"), rows)
        + f"\n`thread.command`: {commands}. `thread.status`: {statuses}.\n"
    )


def _instructions(rows: Iterable[Instruction]) -> str:
    def row(i: Instruction) -> tuple[str, ...]:
        meaning = _code(i.semantics) + (f" {i.doc}" if i.doc else "")
        syntax = _code(f"{i.name} {i.syntax}".rstrip())
        return syntax, _code(f"{i.match:#010x} / {i.mask:#010x}"), meaning

    return table(("instruction", "match / mask", "meaning"), map(row, rows))


def _of_extension(extension: Extension) -> Callable[[], str]:
    return lambda: _instructions(i for i in INSTRUCTIONS if i.extension is extension)


def _of_units(units: tuple[Unit, ...]) -> Callable[[], str]:
    return lambda: _instructions(
        i for i in INSTRUCTIONS if i.extension is Extension.XD1 and i.unit in units
    )


def _encodings(extension: Extension) -> str:
    """Return the bits of each instruction word, in the columns of RISC-V's formats."""
    columns = ((31, 25), (24, 20), (19, 15), (14, 12), (11, 7), (6, 0))

    def cell(i: Instruction, high: int, low: int) -> str:
        # What a bit of the word is: an operand and how far its bit there is from that in the word.
        of = {
            lsb + n: (operand, value_lsb - lsb)
            for operand in i.operands
            for lsb, width, value_lsb in operand.slices
            for n in range(width)
        }
        text = []
        for operand_at, group in groupby(range(high, low - 1, -1), of.get):
            bits = list(group)
            if operand_at is None:
                text.append("".join(str(i.match >> bit & 1) for bit in bits))
                continue
            operand, offset = operand_at
            name = operand.name.partition("_")[0] if "imm" in operand.name else operand.name
            first, last = bits[0] + offset, bits[-1] + offset
            chosen = f"[{first}:{last}]" if first > last else f"[{first}]"
            text.append(name if len(bits) == operand.bits else name + chosen)
        return " ".join(text)

    rows = (
        (_code(i.name), *(cell(i, high, low) for high, low in columns))
        for i in INSTRUCTIONS
        if i.extension is extension
    )
    return table(("instruction", *(f"{high}..{low}" for high, low in columns)), rows)


def _operands() -> str:
    def slices(operand: Operand) -> str:
        return ", ".join(
            f"{lsb + width - 1}..{lsb} → {value_lsb + width - 1}..{value_lsb}"
            for lsb, width, value_lsb in operand.slices
        )

    rows = (
        (_code(o.name), o.kind.value, slices(o), f"{o.minimum}..{o.maximum}")
        for o in OPERANDS.values()
    )
    return table(("operand", "kind", "bits of the word → of the value", "range"), rows)


def _csrs() -> str:
    rows = (
        (f"{c.number:#05x}", _code(c.name), f"{c.reset:#x}", f"{c.write_mask:#x}", c.doc)
        for c in CSRS
    )
    return table(("number", "name", "reset", "writable bits", "meaning"), rows)


#: When an exception is raised, and what mtval or FAULT_VALUE then is.
CAUSES: dict[Cause, tuple[str, str]] = {
    Cause.INSTRUCTION_MISALIGNED: (
        "a jump or taken branch to no multiple of 4, which writes no rd; a start of a thread there",
        "where to",
    ),
    Cause.INSTRUCTION_ACCESS_FAULT: ("the pc is outside SRAM", "the pc"),
    Cause.ILLEGAL_INSTRUCTION: (
        "no row, a number that the preset does not have, no such CSR, a write to a read-only CSR",
        "the word",
    ),
    Cause.BREAKPOINT: ("`ebreak`", "its address"),
    Cause.LOAD_MISALIGNED: (
        "a load not at a multiple of its size, a link not of 8, what a transfer reads not of 64",
        "the address, of a transfer the operand",
    ),
    Cause.LOAD_ACCESS_FAULT: (
        "the same outside SRAM, but for an `ld` of the control block; links without end",
        "likewise",
    ),
    Cause.STORE_MISALIGNED: (
        "a store not at a multiple of its size, what a transfer writes not of 64",
        "likewise",
    ),
    Cause.STORE_ACCESS_FAULT: (
        "the same outside SRAM, but for an `sd` to the control block",
        "likewise",
    ),
    Cause.ENVIRONMENT_CALL: ("`ecall`", "0"),
    Cause.HARDWARE_ERROR: (
        "a word that cannot be [corrected](ecc.md), in a fetch, load, link or vector operand",
        "the address",
    ),
    Cause.VECTOR_FAULT: (
        "a vector or matrix operand that is misaligned or not in SRAM",
        "its address, of a gather or scatter that of the first such lane",
    ),
}


def _causes() -> str:
    rows = ((cause.value, cause.name, *CAUSES[cause]) for cause in Cause)
    return table(("value", "name", "raised by", "mtval"), rows)


def _vocabulary() -> str:
    """Return the table in the docstring of the instruction table's module."""
    _, lines, _ = re.split(r"^=+ =+\n", isa.__doc__ or "", maxsplit=2, flags=re.MULTILINE)
    rows: list[list[str]] = []
    for line in lines.splitlines():
        word, meaning = line[:26].strip(), line[26:].strip()
        if word:
            rows.append([word, meaning])
        else:
            rows[-1][1] += f" {meaning}"
    return table(("word", "meaning"), rows)


def _presets() -> str:
    rows = (
        (
            f"`{p.name}`",
            f"{p.matrix_rows} x {p.matrix_cols} x {p.matrix_depth}",
            f"{p.vector_bytes} B",
            f"{p.accumulators} x {p.matrix_rows} x {p.matrix_cols} FP32",
            p.threads,
            p.scalar_slots,
            p.sram_text,
            p.dot_fraction_bits,
        )
        for p in PRESETS.values()
    )
    head = (
        "preset",
        "matrix unit",
        "vector",
        "accumulators",
        "threads",
        "scalar slots",
        "SRAM",
        "F",
    )
    return table(head, rows)


@dataclass
class _Component:
    """A component of the RTL: where it is, what its docstring promises, and what it consists of."""

    path: Path
    summary: str
    parts: list[str]


def components(folder: Path) -> dict[str, _Component]:
    """Return the public components of the RTL by name; parts of private ones are their users'."""
    found: dict[str, _Component] = {}
    called: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                called[node.name] = _calls(node)
                if any(ast.unparse(base).endswith("Component") for base in node.bases):
                    summary = (ast.get_docstring(node) or "").split("\n\n")[0]
                    summary = re.split(r"\.(?:\s|$)|; golden twin", " ".join(summary.split()))[0]
                    found[node.name] = _Component(path, summary, [])

    def parts(name: str) -> Iterator[str]:
        for part in called[name]:
            if part in found and not part.startswith("_"):
                yield part
            elif part in called:
                yield from parts(part)

    for name, component in found.items():
        component.parts = list(dict.fromkeys(parts(name)))
    return {name: c for name, c in found.items() if not name.startswith("_")}


def _calls(tree: ast.AST) -> list[str]:
    """Return the names that are called somewhere in a tree, in the order of the text."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return [call.func.id for call in calls if isinstance(call.func, ast.Name)]


def _component_tree() -> str:
    """Return what a node consists of, and then what it uses in several places, as lists."""
    found = components(ROOT / "rtl" / "d1_rtl")
    users = {name: [c for c in found.values() if name in c.parts] for name in found}

    def lines(name: str, depth: int) -> Iterator[str]:
        component = found[name]
        link = f"[`{name}`](../{component.path.relative_to(ROOT)})"
        if depth and len(users[name]) > 1:
            yield f"{'  ' * depth}- {link}, see below"
            return
        yield f"{'  ' * depth}- {link}: {component.summary}"
        for part in component.parts:
            yield from lines(part, depth + 1)

    def below_node(name: str) -> set[str]:
        return {name}.union(*(below_node(part) for part in found[name].parts))

    shared = sorted(name for name in below_node("Node") if len(users[name]) > 1)
    several = (line for name in shared for line in lines(name, 0))
    return "\n".join([*lines("Node", 0), "", "Used in several places:", "", *several, ""])


def _link_frame() -> str:
    """Return what each word of a full frame is, by row and lane."""
    link = LINKS["d1"]
    last = (link.frame_rows - 1, link.lanes - 1)

    def cell(row: int, lane: int) -> str:
        slot, part = divmod(row * link.lanes + lane, link.packet_words)
        return "control" if (row, lane) == last else f"{slot}.{part}"

    rows = (
        (row, *(cell(row, lane) for lane in range(link.lanes))) for row in range(link.frame_rows)
    )
    return table(("row", *(f"lane {lane}" for lane in range(link.lanes))), rows)


def _link_frames() -> str:
    """Return how long frames are, by lanes."""
    links = {link.lanes: link for link in LINKS.values()}
    rows = (
        (count, *(frame.frame_rows(links[lanes], count) for lanes in sorted(links, reverse=True)))
        for count in range(LINKS["d1"].packet_slots + 1)
    )
    heads = (f"rows on {lanes} lanes" for lanes in sorted(links, reverse=True))
    return table(("packets", *heads), rows)


def _link_sizes() -> str:
    rows = (
        (
            f"`{link.name}`",
            f"{link.lanes} x {link.lane_width}",
            f"{link.flight_cycles} + {link.coding_cycles}",
            f"{link.cycles_per_frame:g}",
            f"{link.acknowledge_cycles:.1f}",
            link.window,
            link.request_credits,
        )
        for link in LINKS.values()
    )
    head = ("link", "lanes", "flight + coding", "frame", "acknowledged after", "window", "credits")
    return table(head, rows)


def _link_undetected() -> str:
    """Return the probability of an undetected error of a full frame, and how long one takes."""
    link = LINKS["d1"]
    frames_per_year = 2e9 / link.cycles_per_frame * 365.25 * 86400

    def row(rate: float) -> tuple[str, str, str]:
        probability = undetected_probability(link, rate)
        return f"{rate:g}", f"{probability:.1e}", f"{1 / (probability * frames_per_year):.1e}"

    ones, twos, threes, fours = undetected_sets(link, link.frame_rows)
    return (
        "Of a full frame of `d1`, sets of one, two, three and four errors that are not detected: "
        f"{ones}, {twos}, {threes}, {fours}.\n\n"
        + table(
            ("bit errors", "undetected, of each frame", "years to one, full link"),
            map(row, (1e-9, 1e-7, 1e-6, 1e-5, 1e-4)),
        )
    )


def _uart_groups() -> str:
    """Return what each bit of the shape of a packet means."""
    rows = [
        (n, f"packet bytes {g.first}..{g.first + g.count - 1}: {g.name}")
        for n, g in enumerate(uart_frame.GROUPS)
    ]
    ones = uart_frame.ALL_ONES.bit_length() - 1
    rows += [(ones, "the mask is not there because it is all ones"), (ones + 1, "always 1")]
    return table(("bit", "there is, or"), rows)


def _uart_sizes() -> str:
    """Return the bytes of some frames on the line, without those that stuffing adds."""
    write = packet.write_requests(0x123440, bytes(range(1, 65)))
    read = packet.read_requests(0x123440, 64)
    read["tag"] = 1
    replies = [packet.refuse(read), packet.refuse(read)]
    replies[0]["data"] = write["data"]
    rows = {
        "WRITE of a whole line": write,
        "READ": read,
        "READ_REPLY": replies[0],
        "FAULT_REPLY": replies[1],
    }
    sizes = [(name, uart_frame.line_bytes(packets.tobytes())) for name, packets in rows.items()]
    return table(("frame with", "bytes"), [*sizes, ("no packet", uart_frame.line_bytes())])


def _link_measured() -> str:
    """Return the figures of long runs."""
    runs = read_figures()
    rows = (
        (
            f"{rate:g}",
            model,
            f"{figures.packets:.3g}",
            f"{figures.goodput:.4f}",
            f"{figures.mean_latency:.0f}",
            figures.most_latency,
            figures.replays,
        )
        for (model, rate), figures in sorted(
            runs.items(), key=lambda run: (run[0][1], MODELS.index(run[0][0]))
        )
    )
    head = ("bit errors", "model", "packets", "goodput", "mean latency", "longest", "replays")
    return table(head, rows)


def _gpt_training() -> str:
    """Return what `make training` measured."""
    rows = [
        (
            name,
            len(run.losses),
            f"{run.losses[-1]:.2g}",
            f"behind {run.learnt} steps",
            f"{max(run.accuracies.values()):.1%}",
            f"{run.accuracies[len(run.losses)]:.1%}",
        )
        for name, run in gpt_figures.read_runs().items()
    ]
    head = ("on", "steps", "last loss", f"{gpt_figures.WANTED:.0%} sorted", "most", "at the end")
    rtl = gpt_figures.read_figures()["rtl"]
    return table(head, rows) + (
        f"\n{rtl['steps']} steps on the RTL: of {rtl['numbers']:,} numbers of losses, gradients "
        f"and weights {rtl['differing_bits']} bits differ from the golden node's.\n"
    )


def _fpga_report() -> str:
    """Return what the node of a board takes, and how fast it is."""
    report = fpga_figures.read_report()
    rows = [
        (name, f"{used:,}", f"{available:,}", f"{used / available:.1%}")
        for kind, name in fpga_figures.KINDS.items()
        for used, available in [(report["used"][kind], report["available"][kind])]
    ]
    seconds = ", ".join(f"{step} {taken:.0f} s" for step, taken in report["seconds"].items())
    tools = ", ".join(f"{name} {number}" for name, number in report["tools"].items())
    return (
        table(("cells", "used", "of", "part"), rows)
        + f"\nOf the LUT4 {report['left_free']:,} more are left free beforehand. "
        f"Clock: {report['fmax_hz'] / 1e6:.2f} MHz at most, "
        f"{report['clock_hz'] / 1e6:g} MHz wanted, by nextpnr's timing of what it routed. "
        f"With {report['cycle_clocks']} clocks each, the node has "
        f"{fpga_figures.node_hz(report) / 1e6:.2f} million cycles a second. "
        f"Built in {fpga_figures.build_seconds(report) / 60:.0f} minutes: {seconds}. "
        f"Bitstream: {report['bitstream_bytes']:,} bytes. Made with {tools}.\n"
    )


def _routing_figures() -> str:
    """Return what `make routing` measured."""
    figures = json.loads((ROOT / "docs" / "routing_figures.json").read_text())

    def share(key: str) -> str:
        return f"{figures[key]:.1%}"

    return table(
        ("what", "measured"),
        (
            ("random sets of 1 to 6 dead routers, seed", f"{figures['sets']}, {figures['seed']}"),
            ("walls with a gap, corners, pieces of edges and of the middle", figures["shapes"]),
            (
                "of all these, tables without a circle that reach every live place and door",
                figures["sets"] + figures["shapes"],
            ),
            ("processor time of a set, median", f"{figures['seconds_median']} s"),
            ("longest", f"{figures['seconds_most']} s"),
            (
                "load of the busiest channel over that of the intact die, median",
                figures["load_median"],
            ),
            ("greatest, of the random sets", figures["load_most"]),
            ("routes that are as short as any, median", share("shortest_share_median")),
            ("hops more than the shortest way, at most", figures["detour_most"]),
            (
                "saturation of the intact die, packets per node and cycle",
                figures["saturation_intact"],
            ),
            (
                f"of {figures['saturation_sets']} sets of 6 over that, median",
                figures["saturation_median"],
            ),
            ("least", figures["saturation_least"]),
        ),
    )


def _regression_record() -> str:
    """Return what `make million` counted."""
    records = json.loads((ROOT / "docs" / "regression.json").read_text())

    def rarest(record: dict[str, Any], key: str) -> str:
        count, name = record[key]
        return f"{_code(name)}, {count}"

    return table(
        ("preset", "cases", "instructions", "failed", "rarest row", "rarest stall, thread-cycles"),
        (
            (
                f"`{name}`",
                record["cases"],
                record["instructions"],
                record["failed"],
                rarest(record, "rarest_row"),
                rarest(record, "rarest_stall"),
            )
            for name, record in records.items()
        ),
    )


def _link_soak() -> str:
    """Return what links carried while everything happened to them."""
    rows = (
        (
            row["scenario"],
            row["model"],
            row["runs"],
            f"{row['packets']:.3g}",
            f"{row['clocks']:.3g}",
            row["reported"],
        )
        for row in read_soak()
    )
    return table(("what happened", "model", "runs", "packets", "clocks", "lost, reported"), rows)


def _parallel_choice() -> str:
    """Return what the compiler says of a perceptron that it may divide."""
    import d1.torch  # noqa: F401  # makes "d1" a backend of torch.compile
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.GELU(), torch.nn.Linear(64, 16))
    options = {"device": "golden", "preset": "tiny", "nodes": (2, 2), "parallel": "auto"}
    said = io.StringIO()
    with contextlib.redirect_stderr(said), torch.no_grad():
        torch.compile(model, backend="d1", options=options)(torch.zeros(6, 16))
    return f"```text\n{said.getvalue()}```\n"


def _pipeline_speed() -> str:
    """Return how much faster a pipeline is than one node."""
    runs = read_pipeline_figures()
    rows = [
        (run.batch, run.micro_batches, f"{run.one:,}", f"{run.many:,}", f"{run.speedup:.2f}")
        for run in runs
    ]
    half, whole = runs[-2:]
    more = (f"{whole.one - half.one:,}", f"{whole.many - half.many:,}", f"{steady(runs):.2f}")
    rows.append((f"from {half.batch} to {whole.batch}", "full pipeline", *more))
    head = ("batch", "micro-batches", "cycles of one node", "of four", "times as fast")
    return table(head, rows)


def _worked_example() -> str:
    """Return what the passes of the compiler print for a layer and the sums of its rows."""
    import torch
    from d1.compiler.builder import Builder
    from d1.compiler.executable import lower
    from d1.compiler.ir import DType
    from d1.compiler.memory_plan import plan_memory
    from d1.compiler.passes import optimized
    from d1.torch.backend import decompositions
    from d1.torch.lowerings import LOWERINGS
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.node import map_arg

    def model(x: Any, w: Any, b: Any) -> Any:
        return torch.relu(torch.addmm(b, x, w)).sum(1)

    operands = torch.zeros(8, 12), torch.zeros(12, 20), torch.zeros(20)
    traced = make_fx(model, decomposition_table=decompositions())(*operands)
    builder = Builder(PRESETS["tiny"])
    values: dict[Any, Any] = {}
    shapes = iter(tuple(tensor.shape) for tensor in operands)
    for node in traced.graph.nodes:
        if node.op == "placeholder":
            values[node] = builder.input(next(shapes), DType.F32)
        elif node.op == "call_function":
            args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = LOWERINGS[node.target].function(builder, *args, **kwargs)
        else:
            builder.output(values[node.args[0]])
    before = str(builder.graph)
    graph, packed = optimized(builder.graph)
    host = [f"{tensor.name} is {value.ref}, packed by the host" for tensor, value in packed.items()]
    plan = plan_memory(graph)
    places = [
        f"{tensor}: {place} to {place + tensor.bytes}, kernels {first} to {last}"
        for tensor, place in plan.places.items()
        for first, last in [plan.lives[tensor]]
    ]
    places.append(f"{plan.peak} bytes at most of {plan.unplanned}")
    kernel = lower(graph.kernels[-1], builder.params)
    steps = (
        ("PyTorch's operators, decomposed", traced.code.strip()),
        ("Kernels as the lowerings make them", before),
        ("Fused, and without what the host does", "\n".join([str(graph), *host])),
        ("Where tensors are; -1 is before the first kernel", "\n".join(places)),
        ("Code of the last kernel", str(kernel.code)),
        ("Its LLVM IR", kernel.text.strip().replace("\\0A", "\n      ")),
    )
    return "\n".join(f"{title}:\n\n```text\n{body}\n```\n" for title, body in steps)


def _operators() -> str:
    """Return the operators with lowerings, by module."""
    from d1.torch.lowerings import LOWERINGS

    modules: dict[str, set[str]] = {}
    for target, lowering in LOWERINGS.items():
        module = lowering.function.__module__.rpartition(".")[2]
        packet = getattr(target, "overloadpacket", target)
        modules.setdefault(module, set()).add(getattr(packet, "__name__", str(packet)))
    rows = (
        (f"`{module}`", ", ".join(f"`{name}`" for name in sorted(names)))
        for module, names in sorted(modules.items())
    )
    return table(("module", "ATen operators"), rows)


#: What each generated section holds.
#: What each generated section holds.
SECTIONS: dict[str, Callable[[], str]] = {
    "compiled operators": _operators,
    "worked example": _worked_example,
    "parallel choice": _parallel_choice,
    "pipeline speed": _pipeline_speed,
    "routing figures": _routing_figures,
    "gpt training": _gpt_training,
    "fpga report": _fpga_report,
    "regression record": _regression_record,
    "packet fields": lambda: _fields(packet.FIELDS),
    "packet opcodes": _packet_opcodes,
    "descriptor fields": _descriptor_fields,
    "transfer faults": lambda: _enumeration(transfer.TransferFault),
    "control registers": _control_registers,
    "serdes registers": _serdes_registers,
    "encodings xd1": lambda: _encodings(Extension.XD1),
    "operands": _operands,
    "csrs": _csrs,
    "causes": _causes,
    "vocabulary": _vocabulary,
    "presets": _presets,
    "components": _component_tree,
    "link frame": _link_frame,
    "link frames": _link_frames,
    "link control word": lambda: _fields(frame.CONTROL_FIELDS),
    "link status word": lambda: _fields(frame.STATUS_FIELDS),
    "link states": lambda: _enumeration(frame.LinkState),
    "link sizes": _link_sizes,
    "link counters": lambda: table(("counter", "counts"), (COUNTERS | LANE_COUNTERS).items()),
    "link measured": _link_measured,
    "link soak": _link_soak,
    "link undetected errors": _link_undetected,
    "uart header": lambda: _fields(uart_frame.HEADER),
    "uart kinds": lambda: _enumeration(uart_frame.Kind),
    "uart groups": _uart_groups,
    "uart sizes": _uart_sizes,
    "latencies": lambda: table(
        ("result of", "used by", "cycles, preset d1"), core_timing.latency_rows(PRESETS["d1"])
    ),
    "rates": lambda: table(
        ("instructions", "cycles each, one thread", "four threads"), core_timing.rate_rows()
    ),
}
SECTIONS |= {
    f"instructions {extension.name.lower()}": _of_extension(extension)
    for extension in Extension
    if extension is not Extension.XD1
}
SECTIONS |= {f"xd1 {family}": _of_units(units) for family, units in XD1_FAMILIES.items()}


def main() -> int:
    """Write or check every file; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, report stale files")
    check = parser.parse_args().check
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    # Sections first: that takes long, and a page may be edited meanwhile.
    sections = {name: partial(str, make()) for name, make in SECTIONS.items()}
    new = {page: fill(page.read_text(), sections) for page in pages}
    new |= {HEADER: c_header(), PICTURE: str(curves(read_figures()))}
    new[fpga_figures.PICTURE] = str(fpga_figures.utilisation(fpga_figures.read_report()))
    new[gpt_figures.PICTURE] = str(gpt_figures.curves(gpt_figures.read_runs()))
    stale = [path for path, text in new.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(new[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
