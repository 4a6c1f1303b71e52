"""Write the program of a product for its schedule, and the table of passes that it reads.

That is a product whose operands are in SRAM, or one whose operands come while it is computed
(`stream`).

All threads run the same program. Each finds its passes in the table by its number and has the
blocks of one after the other computed by the code for their kind:

    for each pass of the thread:
        for each block of the pass: sum it up over k; store it

Data at a0: the result, the register side, the memory side (`layout` gives their inner order), the
table. A pass is five words: which code (0: the end), then where result, register side and memory
side begin and where the register side ends, in bytes from a0. Before all passes the table says
where those of each thread begin. In a stream there are passes of other codes too: to send a list,
to collect what comes, to be released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from d1_golden.csr import CSR_BY_NAME
from d1_golden.numerics import Cfp8Config
from numpy.typing import NDArray

from d1.compiler.block import DATA, MEMORY_START, REGISTER, RESULT, Block
from d1.compiler.emitter import Emitter
from d1.compiler.lane_block import LaneBlock
from d1.compiler.matrix_block import MatrixBlock
from d1.compiler.schedule import PASS_BYTES, BlockKind, Pass, Schedule
from d1.compiler.stream import ARRIVED, RELEASED, Stream
from d1.compiler.tile import CFP8_FORMAT_BIT

__all__ = ["generate", "pass_table", "stream_table"]

# Scalar registers besides those of `block`.
_CODE, _ENTRY, _SCRATCH = 7, 8, 9
_REGISTER_END, _PASS = 6, 15
_CONSTANTS = range(16, 32)

_WORD_BYTES = 4


#: What is at an entry of the table of jumps of a stream, behind the end: sending a list, collecting
#: what comes, releasing the other threads, waiting until lists are done; from here on the wait of
#: each thread but the lead for its release. The kinds of blocks are behind.
_SEND, _COLLECT, _RELEASE, _SETTLE, _WAIT = range(1, 6)


def generate(wanted: Schedule | Stream) -> bytes:
    """Return the machine code of a product; starts with a0 = address of the data, ends in ecall.

    Runs in threads 0 to `len(wanted.passes)` - 1. Position independent. Uses no memory but its data
    and changes no CSR but mcfp8a and mcfp8b. That of a stream uses the semaphores `ARRIVED` and
    from `RELEASED` on, which are zero before and behind it.
    """
    if isinstance(wanted, Stream):
        return _generate(wanted.panels[0], wanted.table, _stream_codes(wanted), wanted.kinds)
    return _generate(wanted, wanted.table, [], [(wanted, kind) for kind in wanted.kinds])


def _stream_codes(stream: Stream) -> list[Callable[[Emitter], None]]:
    """Return what emits the codes of a stream that are no blocks, from `_SEND` on."""

    def send(code: Emitter) -> None:
        code.emit("xlist", rs1=RESULT)
        code.jump("next pass")

    def collect(code: Emitter) -> None:
        with code.until(RESULT, DATA):
            code.emit("swait", imm=ARRIVED)
            code.add(RESULT, RESULT, -1)
        code.jump("next pass")

    def release(code: Emitter) -> None:
        for thread in range(1, stream.threads):
            code.emit("spost", imm=RELEASED + thread)
        code.jump("next pass")

    def settle(code: Emitter) -> None:
        code.emit("fence")
        code.jump("next pass")

    def wait_in(thread: int) -> Callable[[Emitter], None]:
        def wait(code: Emitter) -> None:
            code.emit("swait", imm=RELEASED + thread)
            code.jump("next pass")

        return wait

    return [send, collect, release, settle, *map(wait_in, range(1, stream.threads))]


def _generate(
    schedule: Schedule,
    table: int,
    codes: Sequence[Callable[[Emitter], None]],
    kinds: Sequence[tuple[Schedule, BlockKind]],
) -> bytes:
    """Return the program that takes its passes from a table.

    Parameters
    ----------
    schedule
        For the formats.
    table
        Where the table is.
    codes
        What emits the codes that are no blocks.
    kinds
        The blocks.

    """
    code = Emitter(_CONSTANTS, _SCRATCH)
    if isinstance(schedule.formats, tuple):
        for name, config in zip(("mcfp8a", "mcfp8b"), schedule.formats, strict=True):
            code.set(_SCRATCH, _cfp8_csr(config))
            code.emit("csrrw", rd=0, csr=CSR_BY_NAME[name].number, rs1=_SCRATCH)
    _find_passes(code, table)
    _take_pass(code)
    # Which code: each entry of this table is a jump.
    code.place("table")
    code.emit("ecall")
    for number in range(1, 1 + len(codes) + len(kinds)):
        code.jump(f"code {number}")
    for number, emit in enumerate(codes, 1):
        code.place(f"code {number}")
        emit(code)
    for number, (of_kind, kind) in enumerate(kinds, 1 + len(codes)):
        code.place(f"code {number}")
        block: Block = (LaneBlock if schedule.tile.in_lanes else MatrixBlock)(code, of_kind, kind)
        block.load_first()
        with code.until(REGISTER, _REGISTER_END):
            block.sum_up()
            block.store()
        code.jump("next pass")
    return code.program()


def pass_table(schedule: Schedule) -> NDArray[np.uint32]:
    """Return the table of passes, which lies behind the memory side."""
    entries = {kind: n + 1 for n, kind in enumerate(schedule.kinds)}
    return _table(
        schedule.table,
        [[_block_pass(schedule, p, entries[p.kind]) for p in passes] for passes in schedule.passes],
    )


def stream_table(
    stream: Stream, sends: Sequence[int], arrivals: Sequence[int]
) -> NDArray[np.uint32]:
    """Return the table of passes of a stream.

    Parameters
    ----------
    stream
        The product.
    sends
        Where the list is by which the node sends its part of each panel: bytes from the start of
        the data; 0: none.
    arrivals
        Posts that come with each panel.

    """
    blocks = _WAIT + stream.threads - 1
    threads: list[list[tuple[int, ...]]] = [[] for _ in range(stream.threads)]

    def send(number: int) -> None:
        if number < len(stream.panels) and sends[number]:
            threads[0].append((_SEND, sends[number]))

    send(0)
    for number, panel in enumerate(stream.panels):
        if arrivals[number]:
            threads[0].append((_COLLECT, arrivals[number]))
        threads[0].append((_RELEASE,))
        send(number + 1)
        for thread in range(1, stream.threads):
            threads[thread].append((_WAIT + thread - 1,))
        for thread, passes in enumerate(panel.passes):
            threads[thread] += [
                _block_pass(panel, p, blocks + stream.entry(panel, p.kind)) for p in passes
            ]
    threads[0].append((_SETTLE,))
    return _table(stream.table, threads)


def _block_pass(schedule: Schedule, p: Pass, entry: int) -> tuple[int, ...]:
    """Return the words of a pass of blocks, the first one the number of its code."""
    step = schedule.vectors * schedule.tile.register_bytes
    return entry, p.result, p.register, p.memory, p.register + p.count * p.kind.p * step


def _table(at: int, threads: Sequence[Iterable[tuple[int, ...]]]) -> NDArray[np.uint32]:
    """Return a table of passes at a place."""
    starts: list[int] = []
    words: list[int] = []
    behind_starts = at + _WORD_BYTES * len(threads)
    for passes in threads:
        starts.append(behind_starts + _WORD_BYTES * len(words))
        for entry, *places in (*passes, (0,)):
            unused = PASS_BYTES // _WORD_BYTES - 1 - len(places)
            words += (_WORD_BYTES * entry, *places, *unused * (0,))
    return np.array(starts + words, np.uint32)


def _find_passes(code: Emitter, table: int) -> None:
    """Emit the search for the thread's first pass and for the jumps."""
    code.emit("csrrs", rd=_ENTRY, csr=CSR_BY_NAME["mhartid"].number, rs1=0)
    code.add(_PASS, DATA, table)
    code.emit("slli", rd=_ENTRY, rs1=_ENTRY, imm=_WORD_BYTES.bit_length() - 1)
    code.emit("add", rd=_PASS, rs1=_PASS, rs2=_ENTRY)
    code.emit("lwu", rd=_PASS, rs1=_PASS, imm=0)
    code.address(_CODE, "table")
    code.emit("add", rd=_PASS, rs1=_PASS, rs2=DATA)


def _take_pass(code: Emitter) -> None:
    """Emit the loading of a pass and the jump to its code."""
    code.place("next pass")
    registers = (_ENTRY, RESULT, REGISTER, MEMORY_START, _REGISTER_END)
    for word, register in enumerate(registers):
        code.emit("lwu", rd=register, rs1=_PASS, imm=_WORD_BYTES * word)
    code.add(_PASS, _PASS, PASS_BYTES)
    code.emit("add", rd=_ENTRY, rs1=_ENTRY, rs2=_CODE)
    for register in registers[1:]:
        code.emit("add", rd=register, rs1=register, rs2=DATA)
    code.emit("jalr", rd=0, rs1=_ENTRY, imm=0)


def _cfp8_csr(config: Cfp8Config) -> int:
    """Return the value of mcfp8a and mcfp8b that means a format."""
    return config.bias | config.format << CFP8_FORMAT_BIT
