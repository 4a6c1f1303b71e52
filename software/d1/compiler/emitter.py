"""Write machine code instruction by instruction, with loops and large constants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from d1_golden.assembler import load_immediate
from d1_golden.isa import OPERANDS, encode

__all__ = ["Emitter"]


class Emitter:
    """A program in the making that runs wherever it is put.

    Parameters
    ----------
    pool
        Scalar registers for the constants that `add` cannot hold in an instruction; loaded once at
        the start of the program.
    scratch
        Scalar register for constants when the pool is used up.

    """

    def __init__(self, pool: range, scratch: int) -> None:
        self._pool = pool
        self._scratch = scratch
        self._constants: dict[int, int] = {}
        self._words: list[int] = []
        self._jumps: dict[int, str] = {}
        self._addresses: dict[int, str] = {}
        self._labels: dict[str, int] = {}

    def emit(self, name: str, **operands: int) -> None:
        """Append an instruction; operands as for `d1_golden.isa.encode`."""
        self._words.append(encode(name, **operands))

    def set(self, rd: int, value: int) -> None:
        """Append what puts a constant in a scalar register."""
        self._words += load_immediate(rd, value)

    def add(self, rd: int, rs: int, value: int) -> None:
        """Append ``rd = rs + value``; nothing where that changes nothing."""
        immediate = OPERANDS["imm_i"]
        if immediate.minimum <= value <= immediate.maximum:
            if value or rd != rs:
                self.emit("addi", rd=rd, rs1=rs, imm=value)
            return
        if value not in self._constants and len(self._constants) < len(self._pool):
            self._constants[value] = self._pool[len(self._constants)]
        constant = self._constants.get(value, self._scratch)
        if constant == self._scratch:
            self.set(constant, value)
        self.emit("add", rd=rd, rs1=rs, rs2=constant)

    def place(self, label: str) -> None:
        """Put a label here, for jumps before and behind."""
        self._labels[label] = len(self._words)

    def jump(self, label: str) -> None:
        """Append a jump to a label."""
        self._jumps[len(self._words)] = label
        self.emit("jal", rd=0, imm=0)

    def address(self, rd: int, label: str) -> None:
        """Append what puts the address of a label, at most 2 KiB from here, in a register."""
        self._addresses[len(self._words)] = label
        self.emit("auipc", rd=rd, imm=0)
        self.emit("addi", rd=rd, rs1=rd, imm=0)

    @contextmanager
    def until(self, pointer: int, end: int) -> Iterator[None]:
        """Repeat what is emitted inside, at least once, until two scalar registers are equal."""
        start = len(self._words)
        yield
        distance = 4 * (start - len(self._words))
        if distance >= OPERANDS["imm_b"].minimum:
            self.emit("bne", rs1=pointer, rs2=end, imm=distance)
        else:
            self.emit("beq", rs1=pointer, rs2=end, imm=8)
            self.emit("jal", rd=0, imm=distance - 4)

    @contextmanager
    def repeat(self, count: int, *, pointer: int, step: int, end: int) -> Iterator[None]:
        """Repeat what is emitted inside `count` times, at least once.

        Parameters
        ----------
        count
            How often.
        pointer
            Scalar register that what is inside moves; tells when to stop.
        step
            By how much it is moved each time, not 0.
        end
            Scalar register for where it gets to.

        """
        if count == 1:
            yield
            return
        self.add(end, pointer, count * step)
        with self.until(pointer, end):
            yield

    def program(self) -> bytes:
        """Return the machine code, the loading of constants first."""
        words = [
            word
            for value, register in self._constants.items()
            for word in load_immediate(register, value)
        ]
        for at, label in self._jumps.items():
            self._words[at] = encode("jal", rd=0, imm=4 * (self._labels[label] - at))
        for at, label in self._addresses.items():
            rd = OPERANDS["rd"].extract(self._words[at])
            distance = 4 * (self._labels[label] - at)
            self._words[at + 1] = encode("addi", rd=rd, rs1=rd, imm=distance)
        return b"".join(word.to_bytes(4, "little") for word in words + self._words)
