"""Collectives: what the nodes of a rectangle do together, as programs on the nodes themselves.

docs/collectives.md has the diagrams. Every node runs the same program of its collective on a block
of arguments of its own, which says whom it waits for and holds the lists of its transfers:

    barrier      posts: along each row to the row's leader, along their column to the root, and
                 back to all with one broadcast
    broadcast    one list at the root
    reduce       the lines of a row are divided among its nodes; each gets its lines from all of
                 them and adds them up by columns; then the same along the rows, at the places
                 where the root's row has them; from there to the root
    all-reduce   the same, with a broadcast at the end in place of the way to the root

Sums are FP32, of the vector lanes, in an order that depends on nothing but the live nodes:

    (((x[c1, r1] + x[c2, r1]) + ...) + ((x[c1, r2] + ...) + ...)) + ...

that is by ascending column in each row, then by ascending row; places without a live node are left
out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.fabric.place import Place
from d1_golden.params import LINE_BYTES
from d1_golden.transfer import TransferOp, descriptor
from numpy.typing import NDArray

from d1.device import Call
from d1.fabric.fan_out import Rectangle, chain, fan_out
from d1.fabric.mesh import Mesh

__all__ = ["Group", "barrier_subroutine"]

_Node = tuple[int, int]
#: Semaphores of collectives: posts on their way to the root, and from it; lines to be added up by
#: columns and by rows.
_UP, _DOWN, _BY_COLUMN, _BY_ROW = 28, 29, 30, 31
#: A collective may take so many cycles, and so many for each line, before it is given up.
_CYCLES, _CYCLES_PER_LINE = 100_000, 1_000


def barrier_subroutine(up: int = _UP, down: int = _DOWN) -> str:
    """Return code that waits for all nodes of a group.

    It is called as ``barrier_of_group``; the block at a0 says what is this node's part. Changes t0
    and t1.

    Parameters
    ----------
    up, down
        Semaphores that are posted on the way to the root, and from it.

    """
    return f"""
barrier_of_group:
        ld t0, 0(a0)                # posts that come from below
        ld t1, 8(a0)                # whom to tell, 0 at the root
        beqz t0, tell
gather: swait {up}
        addi t0, t0, -1
        bnez t0, gather
tell:   beqz t1, root
        post t1, {up}
        swait {down}
        ret
root:   addi t1, a0, {LINE_BYTES}
        xlist t1                    # tells all, this node too
        swait {down}
        ret
"""


_BARRIER = f"""
        call barrier_of_group
        fence
        ecall
{barrier_subroutine()}
"""
_BROADCAST = f"""
        ld t1, 0(a0)                # list, 0 but at the root
        beqz t1, take
        xlist t1
take:   swait {_DOWN}
        fence
        ecall
"""


@cache
def _reduce_source(vector_bytes: int) -> str:
    """Return the program of reduce and all-reduce; its block is described in `_Reduction`."""
    return f"""
        ld s0, 0(a0)                # lists: lines to their nodes in the row, ...
        xlist s0
        ld a1, 8(a0)                # of the nodes in the row: where lines come in, ...
        ld a2, 16(a0)               # ... bytes from each, ...
        ld a3, 24(a0)               # ... how many
        beqz a3, rows
        mv t0, a3
column: swait {_BY_COLUMN}
        addi t0, t0, -1
        bnez t0, column
        call sum
        ld s0, 32(a0)               # ... sums of the row to their nodes in the root's row, ...
        xlist s0
rows:   ld a1, 40(a0)               # the same of the rows
        ld a2, 48(a0)
        ld a3, 56(a0)
        ld t0, 64(a0)               # pushes that bring them
        beqz t0, result
row:    swait {_BY_ROW}
        addi t0, t0, -1
        bnez t0, row
        call sum
        ld s0, 72(a0)               # ... and results to those that want them
        xlist s0
result: ld t0, 80(a0)               # pieces of the result that come to this node
        beqz t0, done
piece:  swait {_DOWN}
        addi t0, t0, -1
        bnez t0, piece
done:   fence
        ecall

# Adds up a3 slots of a2 bytes from a1 on, in their order, into the first.
sum:    add t0, a1, a2
lanes:  vld v0, 0(a1)
        mv t1, a1
        addi t2, a3, -1
slot:   beqz t2, sum_up
        add t1, t1, a2
        vld v1, 0(t1)
        vfadd.f32 v0, v0, v1
        addi t2, t2, -1
        j slot
sum_up: vst v0, 0(a1)
        addi a1, a1, {vector_bytes}
        bltu a1, t0, lanes
        ret
"""


class Group:
    """The live nodes of a rectangle of a mesh.

    Parameters
    ----------
    mesh
        The mesh.
    near, far
        Corners of the rectangle, column and row; by default the whole die.

    Members
    -------
    members : tuple[tuple[int, int], ...]
        The nodes, row by row.

    Raises
    ------
    ValueError
        The rectangle is not one of the die, or has no live node.

    """

    def __init__(self, mesh: Mesh, near: _Node = (1, 1), far: _Node | None = None) -> None:
        die = mesh.params
        far = far or (die.columns, die.rows)
        if not (1 <= near[0] <= far[0] <= die.columns and 1 <= near[1] <= far[1] <= die.rows):
            raise ValueError(
                f"near and far must be corners of a rectangle in {die.columns} x {die.rows} places,"
                f" not {near!r} and {far!r}"
            )
        self.mesh = mesh
        self.rectangle = Rectangle(near, far)
        self.members = tuple(place for place in mesh.nodes if place in self.rectangle)
        if not self.members:
            raise ValueError(f"a group must have a live node, not the places {near!r} to {far!r}")

    @cached_property
    def rows(self) -> dict[int, tuple[_Node, ...]]:
        """The nodes of each row that has some."""
        rows: dict[int, list[_Node]] = {}
        for place in self.members:
            rows.setdefault(place[1], []).append(place)
        return {row: tuple(places) for row, places in rows.items()}

    @cached_property
    def leaders(self) -> dict[int, _Node]:
        """The node of each row that is nearest to the middle column."""
        middle = (self.rectangle.near[0] + self.rectangle.far[0]) / 2
        return {
            row: min(places, key=lambda place: abs(place[0] - middle))
            for row, places in self.rows.items()
        }

    @cached_property
    def root(self) -> _Node:
        """The leader nearest to the middle row."""
        middle = (self.rectangle.near[1] + self.rectangle.far[1]) / 2
        return min(self.leaders.values(), key=lambda place: abs(place[1] - middle))

    def barrier(self) -> None:
        """Let all nodes wait until all have come.

        Raises
        ------
        DeviceError
            A node did not do its part.

        """
        with self.mesh.lock, self.mesh.data.scratch(self.barrier_bytes) as base:
            blocks = self.barrier_blocks(base)
            self._call(_BARRIER, base, blocks, 1)

    def broadcast(self, address: int, size: int, root: _Node | None = None) -> None:
        """Bring bytes of a node to the same address of all.

        Parameters
        ----------
        address, size
            Whole lines, in SRAM.
        root
            The node that has them; by default `self.root`.

        Raises
        ------
        ValueError
            Not whole lines, or `root` is no member.
        DeviceError
            A node did not do its part.

        """
        root = self._require_member(root)
        lines = _lines(address, size)
        sends = self.fan_out(root, address, address, lines)
        with self.mesh.lock, self.mesh.data.scratch((1 + len(sends)) * LINE_BYTES) as base:
            blocks = {place: _words(0) for place in self.members}
            blocks[root] = _block([base + LINE_BYTES], chain(sends, base + LINE_BYTES))
            self._call(_BROADCAST, base, blocks, lines)

    def reduce(
        self, address: int, size: int, result: int | None = None, root: _Node | None = None
    ) -> None:
        """Add up the FP32 numbers that all nodes have at an address; the sums come to one node.

        Parameters
        ----------
        address, size
            Whole lines, in SRAM.
        result
            Where the sums go; by default to `address`.
        root
            The node that gets them; by default `self.root`.

        Raises
        ------
        ValueError
            Not whole lines, or `root` is no member.
        SramOverflowError
            What the nodes send each other does not fit.
        DeviceError
            A node did not do its part.

        """
        self._reduce(address, size, result, self._require_member(root))

    def all_reduce(self, address: int, size: int, result: int | None = None) -> None:
        """Add up the FP32 numbers that all nodes have at an address; the sums come to all.

        Parameters and errors are those of `reduce`.
        """
        self._reduce(address, size, result, None)

    @property
    def barrier_bytes(self) -> int:
        """Bytes of a node's block for `barrier_subroutine`."""
        return (2 + len(self.fan_out(self.root, 0, 0, 1))) * LINE_BYTES

    def barrier_blocks(self, base: int, down: int = _DOWN) -> dict[_Node, NDArray[np.uint8]]:
        """Return each node's block for `barrier_subroutine`, to lie at `base` in every node."""
        below = {place: 0 for place in self.members}
        above: dict[_Node, _Node | None] = {}
        for place in self.members:
            leader = self.leaders[place[1]]
            above[place] = None if place == self.root else leader if place != leader else self.root
            if (parent := above[place]) is not None:
                below[parent] += 1
        # What is broadcast besides the post is of no use: a line behind the list.
        spare = base + self.barrier_bytes - LINE_BYTES
        tells = self.fan_out(self.root, spare, spare, 1, arrival=down)
        sends = chain(tells, base + LINE_BYTES)
        return {
            place: _words(below[place], Place(*parent).address())
            if (parent := above[place]) is not None
            else _block([below[place], 0], sends)
            for place in self.members
        }

    def fan_out(
        self,
        source: _Node,
        local: int,
        remote: int,
        lines: int,
        stride: int = LINE_BYTES,
        arrival: int = _DOWN,
    ) -> list[NDArray[np.void]]:
        """Return the descriptors that bring lines of a member to all; see `fan_out.fan_out`.

        Parameters
        ----------
        source
            Which member.
        local, remote, lines
            Local addresses there and in all, how many.
        stride
            Bytes from line to line in all.
        arrival
            The semaphore that is posted in each behind the last.

        """
        return fan_out(
            self.mesh,
            source,
            self.members,
            local=local,
            remote=remote,
            lines=lines,
            remote_stride=stride,
            arrival=arrival,
        )

    def _reduce(self, address: int, size: int, result: int | None, root: _Node | None) -> None:
        lines = _lines(address, size)
        _lines(address if result is None else result, size)
        plan = _Reduction(self, address, lines, address if result is None else result, root)
        with self.mesh.lock, self.mesh.data.scratch(plan.total_bytes) as base:
            source = _reduce_source(self.mesh.params.node.vector_bytes)
            self._call(source, base, plan.blocks(base), lines)

    def _call(
        self, source: str, base: int, blocks: Mapping[_Node, NDArray[np.uint8]], lines: int
    ) -> None:
        program = assemble(source).code
        calls = {
            place: Call(program, base, inputs=((base, blocks[place]),)) for place in self.members
        }
        self.mesh.call(calls, max_cycles=_CYCLES + _CYCLES_PER_LINE * lines)

    def _require_member(self, root: _Node | None) -> _Node:
        if root is None:
            return self.root
        if root not in self.members:
            raise ValueError(f"root must be a live node of the group, not {root!r}")
        return root


@dataclass(frozen=True)
class _Reduction:
    """Who adds up what in a reduction, and where.

    Line n belongs, in a row of k nodes, to number n modulo k of them. The nodes of the root's row
    to which it belongs add up the rows.

    A node's block: eleven words for `_reduce_source`, its lists, where the lines of its row come
    in, where those of all rows do.

    Parameters
    ----------
    group
        The nodes.
    address, lines
        The numbers.
    result
        Where the sums go.
    root
        The node that gets them; None: all.

    """

    group: Group
    address: int
    lines: int
    result: int
    root: _Node | None

    @cached_property
    def last_row(self) -> tuple[_Node, ...]:
        """The nodes that add up the rows."""
        return self.group.rows[self.group.root[1]]

    def share(self, row: tuple[_Node, ...], place: _Node) -> range:
        """Return the lines that belong to a node of a row."""
        return range(row.index(place), self.lines, len(row))

    @property
    def share_bytes(self) -> int:
        """Bytes of the largest share."""
        fewest = min(map(len, self.group.rows.values()))
        return -(-self.lines // fewest) * LINE_BYTES

    @property
    def list_bytes(self) -> int:
        """Bytes of the longest lists of a node."""
        widest = max(map(len, self.group.rows.values()))
        to_all = len(self.group.members) if self.group.mesh.params.dead_routers else 1
        return (widest + self.share_bytes // LINE_BYTES + to_all) * LINE_BYTES

    @property
    def by_column(self) -> int:
        """Where the lines of a row come in: bytes from the block's start."""
        return 2 * LINE_BYTES + self.list_bytes

    @property
    def by_row(self) -> int:
        """Where those of all rows come in."""
        return self.by_column + max(map(len, self.group.rows.values())) * self.share_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes of a block."""
        return self.by_row + len(self.group.rows) * self.share_bytes

    def blocks(self, base: int) -> dict[_Node, NDArray[np.uint8]]:
        """Return each node's block, to lie at `base` in every node."""
        to_last_row = {place: list(self._sums_of_row(place, base)) for place in self.group.members}
        pushes = dict.fromkeys(self.group.members, 0)
        for sends in to_last_row.values():
            for receiver, _ in sends:
                pushes[receiver] += 1
        pieces = sum(1 for place in self.last_row if self.share(self.last_row, place))
        blocks = {}
        for place in self.group.members:
            row = self.group.rows[place[1]]
            own = len(self.share(row, place))
            final = len(self.share(self.last_row, place)) if place in self.last_row else 0
            lists = []
            starts = []
            at = base + 2 * LINE_BYTES
            for transfers in (
                list(self._lines_of_row(row, place, base)),
                [push for _, push in to_last_row[place]],
                self._results(place, base) if final else [],
            ):
                starts.append(at)
                if transfers:
                    lists.append(chain(transfers, at))
                    at += len(transfers) * LINE_BYTES
            gets = self.root is None or place == self.root
            words = [
                starts[0],
                *(base + self.by_column, own * LINE_BYTES, len(row) if own else 0),
                starts[1],
                *(base + self.by_row, final * LINE_BYTES, len(self.group.rows)),
                pushes[place],
                starts[2],
                pieces if gets else 0,
            ]
            blocks[place] = _block(words, np.concatenate(lists))
        return blocks

    def _lines_of_row(
        self, row: tuple[_Node, ...], place: _Node, base: int
    ) -> Iterator[NDArray[np.void]]:
        """Yield what brings a node's numbers to those of its row to whom they belong."""
        number = row.index(place)
        # Each begins with itself, so that not all send to the same node at the same time.
        for receiver in (*row[number:], *row[:number]):
            share = self.share(row, receiver)
            if share:
                slot = self.by_column + number * len(share) * LINE_BYTES
                yield descriptor(
                    TransferOp.PUSH,
                    local=self.address + share.start * LINE_BYTES,
                    local_stride=share.step * LINE_BYTES,
                    remote=Place(*receiver).address(base + slot),
                    lines=len(share),
                    arrival=_BY_COLUMN,
                )

    def _sums_of_row(self, place: _Node, base: int) -> Iterator[tuple[_Node, NDArray[np.void]]]:
        """Yield the receiver and the push of each line that a node has summed up."""
        number = list(self.group.rows).index(place[1])
        for n, line in enumerate(self.share(self.group.rows[place[1]], place)):
            index, owner = divmod(line, len(self.last_row))
            receiver = self.last_row[owner]
            slot_bytes = len(self.share(self.last_row, receiver)) * LINE_BYTES
            slot = self.by_row + number * slot_bytes + index * LINE_BYTES
            yield (
                receiver,
                descriptor(
                    TransferOp.PUSH,
                    local=base + self.by_column + n * LINE_BYTES,
                    remote=Place(*receiver).address(base + slot),
                    arrival=_BY_ROW,
                ),
            )

    def _results(self, place: _Node, base: int) -> list[NDArray[np.void]]:
        """Return what brings the results of a node to those that want them."""
        share = self.share(self.last_row, place)
        local = base + self.by_row
        remote = self.result + share.start * LINE_BYTES
        stride = share.step * LINE_BYTES
        if self.root is None:
            return self.group.fan_out(place, local, remote, len(share), stride)
        return [
            descriptor(
                TransferOp.PUSH,
                local=local,
                remote=Place(*self.root).address(remote),
                remote_stride=stride,
                lines=len(share),
                arrival=_DOWN,
            )
        ]


def _lines(address: int, size: int) -> int:
    """Return how many lines a range is."""
    if address % LINE_BYTES or size % LINE_BYTES or size <= 0:
        raise ValueError(
            f"address and size must be of whole lines of {LINE_BYTES} bytes, not {address:#x} and "
            f"{size!r}"
        )
    return size // LINE_BYTES


def _words(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint64).view(np.uint8)


def _block(words: list[int], lists: NDArray[np.void]) -> NDArray[np.uint8]:
    """Return words, padded to whole lines, and lists behind."""
    first = _words(*words)
    gap = np.zeros(-len(first) % LINE_BYTES, np.uint8)
    return np.concatenate([first, gap, lists.view(np.uint8)])
