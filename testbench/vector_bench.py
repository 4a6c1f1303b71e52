"""The vector unit by itself: its decoders, its memory, and operations for its threads."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from d1_golden import isa
from d1_golden.isa import Unit
from d1_golden.params import LINE_BYTES, NodeParams
from d1_rtl.node.decoder import Decoder
from d1_rtl.node.interfaces import HardwareError, sram_write_layout
from d1_rtl.node.vector_issue import vector_stalls_layout
from d1_rtl.node.vector_unit import (
    VectorUnit,
    vector_blocking_layout,
    vector_operation_layout,
    vector_scalar_layout,
)
from d1_rtl.sim.native import NativeModel

__all__ = ["DecodedVectorUnit", "VectorBench", "VectorOperation"]

_BLOCKING = (Unit.VECTOR_GATHER, Unit.VECTOR_SCATTER)


class DecodedVectorUnit(wiring.Component):
    """A vector unit whose operations are decoded from their words: `uop` of `i` is not used.

    Parameters
    ----------
    params, gated, stay
        As of `VectorUnit`, whose ports this component has.

    """

    def __init__(self, params: NodeParams, *, gated: bool = True, stay: int = 1):
        self._params = params
        self._unit = VectorUnit(params, gated=gated, stay=stay)
        super().__init__(self._unit.signature)

    def elaborate(self, platform: object) -> Module:
        """Put a decoder before each input."""
        m = Module()
        m.submodules.unit = unit = self._unit
        for number, (outer, inner) in enumerate(zip(self.i, unit.i, strict=True)):  # type: ignore[attr-defined]
            m.submodules[f"decoder_{number}"] = decoder = Decoder(self._params)
            m.d.comb += [
                decoder.insn.eq(outer.payload.insn),
                inner.payload.eq(outer.payload),
                inner.payload.uop.eq(decoder.uop),
                inner.valid.eq(outer.valid),
            ]
        for name, member in unit.signature.members.items():
            if name == "i":
                continue
            inner, outer = getattr(unit, name), getattr(self, name)
            if member.is_signature and not member.dimensions:
                wiring.connect(m, inner, wiring.flipped(outer))
            elif member.dimensions:
                m.d.comb += [o.eq(i) for o, i in zip(outer, inner, strict=True)]
            else:
                m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        return m


@dataclass(frozen=True, kw_only=True)
class VectorOperation:
    """A vector instruction with what the core hands on with it.

    Members
    -------
    insn
        The word.
    fields
        The other fields of `vector_operation_layout`, by name; 0 if not there.
    scalar
        The scalar register it writes and the value, or None.
    fault
        The address of the fault of a gather or scatter, or None.
    """

    insn: int
    fields: dict[str, int]
    scalar: tuple[int, int] | None = None
    fault: int | None = None

    @property
    def blocks(self) -> bool:
        """Whether it holds its thread up until it is done."""
        row = isa.decode(self.insn)
        return row is not None and row.unit in _BLOCKING


class VectorBench:
    """Drives a vector unit, answers its SRAM ports, and checks what comes back.

    Parameters
    ----------
    params, gated, stay
        As of `VectorUnit`.

    Members
    -------
    memory : bytearray
        SRAM.
    wrong : set of int
        Byte addresses of 64-bit words that are uncorrectable.
    """

    def __init__(self, params: NodeParams, *, gated: bool = True, stay: int = 1):
        self.params = params
        self.model = NativeModel(
            DecodedVectorUnit(params, gated=gated, stay=stay),
            name=f"vector_unit_{params.name}" + ("" if gated else "_bare"),
        )
        self.memory = bytearray(params.sram_bytes)
        self.wrong: set[int] = set()
        self._layout = vector_operation_layout(params)
        self._write = sram_write_layout(params)
        self.reset()

    def reset(self) -> None:
        """Reset the unit and make memory all zeros; registers and accumulators stay."""
        for port in range(self.params.issue_groups):
            self.model.set(f"i__{port}__valid", 0)
        self.model.reset()
        self.memory[:] = bytes(len(self.memory))
        self.wrong.clear()

    def close(self) -> None:
        """Free the model."""
        self.model.close()

    def _bits(self, thread: int, operation: VectorOperation) -> int:
        bits = 0
        for name, value in {**operation.fields, "insn": operation.insn, "thread": thread}.items():
            bits |= value << self._layout[name].offset
        return bits

    def run(
        self,
        programs: Iterable[Iterable[VectorOperation]],
        *,
        seed: int = 0,
        stall: float = 0.0,
        pause: float = 0.0,
        hold: float = 0.0,
        max_cycles: int = 100_000,
    ) -> Recording:
        """Run a program of operations for each thread to the end.

        Parameters
        ----------
        programs
            For each thread its operations.
        seed
            Of the pauses and stalls.
        stall, pause, hold
            Probabilities that a bank is taken, that a thread has no operation to give, and that a
            scalar access of a thread holds off its vector accesses, each in a cycle.

        Raises
        ------
        AssertionError
            If a result is not the expected one.
        TimeoutError
            If the end does not come within `max_cycles`.

        """
        run = _Run(self, [deque(program) for program in programs], random.Random(seed))
        for _ in range(max_cycles):
            if run.done():
                return run.recording
            run.cycle(stall=stall, pause=pause, hold=hold)
        raise TimeoutError(
            f"vector unit must finish within {max_cycles} cycles; operations left: "
            f"{[len(queue) for queue in run.queues]}, busy {self.model.get('busy'):#b}"
        )


@dataclass(frozen=True)
class Recording:
    """What happened, cycle by cycle.

    Members
    -------
    issued : list of int
        The slots in which an operation started, a bit each.
    matrix_steps : list of int
        Whether a matrix step entered the matrix unit.
    stalls : dict
        For each thread and cause the number of cycles.
    errors : list of (thread, pc, address)
        Hardware errors reported.
    blocking : list of (thread, fault, hardware, address)
        Ends of gathers and scatters.
    scalars : list of (cycle, thread)
        When scalar results came.
    """

    issued: list[int]
    matrix_steps: list[int]
    stalls: dict[tuple[int, str], int]
    errors: list[tuple[int, int, int]]
    blocking: list[tuple[int, int, int, int]]
    scalars: list[tuple[int, int]]

    @property
    def starts(self) -> list[int]:
        """The cycles in which operations started, one entry each."""
        return [n for n, bits in enumerate(self.issued) for _ in range(bits.bit_count())]


class _Run:
    """One run of a bench."""

    def __init__(self, bench: VectorBench, queues: list[deque], rng: random.Random):
        threads = bench.params.threads
        self.bench, self.queues, self.rng = bench, queues, rng
        self.recording = Recording([], [], defaultdict(int), [], [], [])
        self._scalars: list[deque] = [deque() for _ in range(threads)]
        self._blocked: list[VectorOperation | None] = [None] * threads
        self._pending: list[deque] = [deque() for _ in range(threads)]
        self._settling = 0

    def done(self) -> bool:
        """Whether nothing is left to be done."""
        if any(self.queues) or any(self._blocked) or self.bench.model.get("busy"):
            self._settling = 0
            return False
        self._settling += 1
        assert not any(self._scalars), "every scalar result must have come"
        return self._settling > 2

    def cycle(self, *, stall: float, pause: float, hold: float) -> None:
        """Run one cycle."""
        model, rng, bench = self.bench.model, self.rng, self.bench
        threads = range(bench.params.threads)
        # `room` is a register: of this cycle's, before the clock rises.
        room = model.get("room")
        order = [t for t in threads if self._may_push(t, room) and rng.random() >= pause]
        rng.shuffle(order)
        for port in range(bench.params.issue_groups):
            model.set(f"i__{port}__valid", int(port < len(order)))
            if port < len(order):
                model.set(f"i__{port}__payload", self._push(order[port]))
        model.set("scalar_holds", sum((rng.random() < hold) << t for t in threads))
        grants = {}
        for name in ("r_vector_0", "r_vector_1", "w_vector"):
            grants[name] = rng.random() >= stall
            model.set(f"{name}__request__ready", int(grants[name]))
        for name in ("o_scalar", "o_blocking"):
            grants[name] = rng.random() >= stall
            model.set(f"{name}__ready", int(grants[name]))
        self._observe(grants)
        answers = self._serve(grants)
        model.step()
        for name, (line, wrong) in answers.items():
            model.set(f"{name}__data", line)
            model.set(f"{name}__uncorrectable", wrong)

    def _may_push(self, thread: int, room: int) -> bool:
        return bool(self.queues[thread] and room >> thread & 1 and self._blocked[thread] is None)

    def _push(self, thread: int) -> int:
        operation = self.queues[thread].popleft()
        if operation.scalar is not None:
            self._scalars[thread].append(operation.scalar)
        if operation.blocks:
            self._blocked[thread] = operation
        return self.bench._bits(thread, operation)

    def _observe(self, grants: dict[str, bool]) -> None:
        """Record events and check the results of this cycle."""
        model, recording = self.bench.model, self.recording
        now = len(recording.issued)
        recording.issued.append(model.get("issued"))
        recording.matrix_steps.append(model.get("matrix_step"))
        for thread in range(self.bench.params.threads):
            stalls: Any = vector_stalls_layout().from_bits(model.get(f"stalls__{thread}"))
            causes = [name for name in vector_stalls_layout().members if stalls[name]]
            assert len(causes) <= 1, causes
            for name in causes:
                recording.stalls[thread, name] += 1
        if grants["o_scalar"] and model.get("o_scalar__valid"):
            result: Any = vector_scalar_layout().from_bits(model.get("o_scalar__payload"))
            assert self._scalars[result.thread], f"thread {result.thread} has no scalar to come"
            expected = self._scalars[result.thread].popleft()
            assert (result.rd, result.value) == expected, (result, expected)
            recording.scalars.append((now, result.thread))
        if grants["o_blocking"] and model.get("o_blocking__valid"):
            end: Any = vector_blocking_layout().from_bits(model.get("o_blocking__payload"))
            operation = self._blocked[end.thread]
            assert operation is not None, f"thread {end.thread} is not blocked"
            assert bool(end.fault) == (operation.fault is not None)
            if end.fault:
                assert end.address == operation.fault
            self._blocked[end.thread] = None
            recording.blocking.append((end.thread, end.fault, end.hardware, end.address))
        error = model.get("hardware_error")
        if error & 1:
            view: Any = HardwareError.from_bits(error)
            recording.errors.append((view.thread, view.pc, view.address))

    def _serve(self, grants: dict[str, bool]) -> dict[str, tuple[int, int]]:
        """Answer reads, carry out the write."""
        model, bench = self.bench.model, self.bench
        answers = {}
        for name in ("r_vector_0", "r_vector_1"):
            # What is on the port when nothing was asked for means nothing.
            answers[name] = (self.rng.getrandbits(8 * LINE_BYTES), self.rng.getrandbits(8))
            if grants[name] and model.get(f"{name}__request__valid"):
                start = model.get(f"{name}__request__payload") * LINE_BYTES
                line = int.from_bytes(bench.memory[start : start + LINE_BYTES], "little")
                wrong = sum((start + 8 * n in bench.wrong) << n for n in range(8))
                answers[name] = (line, wrong)
        if grants["w_vector"] and model.get("w_vector__request__valid"):
            write: Any = bench._write.from_bits(model.get("w_vector__request__payload"))
            start = write.line * LINE_BYTES
            content = write.data.to_bytes(LINE_BYTES, "little")
            for byte in range(LINE_BYTES):
                if write.mask >> byte & 1:
                    bench.memory[start + byte] = content[byte]
        return answers
