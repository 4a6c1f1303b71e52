"""The move unit: elements of vectors to other places, and masks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.node.vocabulary_move import block_rows
from d1_golden.params import NodeParams

__all__ = ["MoveOp", "MoveUnit", "move_operation_layout"]


class MoveOp(enum.Enum, shape=5):
    """What the move unit does: the move instructions of the ISA table."""

    VTRANS_B8 = 0  #: an 8 x R block of a becomes R x 8
    VTRANS_B16 = 1  #: a 4 x R block of a becomes R x 4
    VTRANS_B32 = 2  #: a P x Q block of a becomes Q x P
    VTRANSI_B8 = 3  #: an R x 8 tile of a becomes 8 x R
    VTRANSI_B16 = 4  #: an R x 4 tile of a becomes 4 x R
    VSHUF = 5  #: lane n is lane b[n] of a
    VBC_X = 6  #: every lane is the scalar
    VBC_L = 7  #: every lane is lane `lane` of a
    VMV_X_V = 8  #: a scalar, lane `lane` of a
    VPAD_B8 = 9  #: b, an R x 8 tile, with zeros outside what the scalar keeps
    VPAD_B16 = 10  #: b, an R x 4 tile, likewise
    VPAD_B32 = 11  #: b, a P x Q block, likewise
    VSLIDE = 12  #: lane n is lane n + `lane` of a followed by b
    VSEL = 13  #: a where mask_a is set, else b
    MAND = 14  #: a mask, mask_a & mask_b
    MOR = 15  #: a mask, mask_a | mask_b
    MXOR = 16  #: a mask, mask_a ^ mask_b
    MANDN = 17  #: a mask, mask_a & ~mask_b
    VMV_M_X = 18  #: a mask, the low bits of the scalar
    VMV_X_M = 19  #: a scalar, mask_a


_SCALAR_RESULTS = (MoveOp.VMV_X_V, MoveOp.VMV_X_M)
_MASK_RESULTS = (MoveOp.MAND, MoveOp.MOR, MoveOp.MXOR, MoveOp.MANDN, MoveOp.VMV_M_X)


def move_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation of the move unit.

    Members
    -------
    a, b : 8 x vector_bytes
        What vs1 and vs2 hold.
    mask_a, mask_b : fp32_lanes
        What the masks ms1 and ms2 hold; for VSEL `mask_a` is what ms holds.
    scalar : 64
        What rs1 holds.
    op : MoveOp
    lane : range(fp32_lanes + 1)
        The lane of VBC_L and VMV_X_V, less than fp32_lanes; the distance of VSLIDE.
    """
    vector, lanes = 8 * params.vector_bytes, params.fp32_lanes
    return data.StructLayout(
        {
            "a": vector,
            "b": vector,
            "mask_a": lanes,
            "mask_b": lanes,
            "scalar": 64,
            "op": MoveOp,
            "lane": range(lanes + 1),
        }
    )


class MoveUnit(wiring.Component):
    """Move the elements of vectors, and combine masks.

    Transposes and padding of operand tiles are wires; whatever moves 32-bit lanes goes through one
    crossbar, in which every lane has the number of the one that it takes of a followed by b.

    Latency `MoveUnit.LATENCY` = 2 cycles: the result of an operation that is transferred in cycle
    t is on `o`, `o_mask` or `o_scalar` in cycle t + 2, and only then. One operation per cycle.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.

    Golden twin: `d1_golden.node.vocabulary_move`.

    Parameters
    ----------
    params
        Size of a vector.

    Members
    -------
    i : In(stream.Signature(move_operation_layout(params), always_ready=True))
        Operations.
    o : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Vectors, in order.
    o_mask : Out(stream.Signature(fp32_lanes, always_ready=True))
        Masks: of MAND, MOR, MXOR, MANDN and VMV_M_X.
    o_scalar : Out(stream.Signature(64, always_ready=True))
        Scalars: of VMV_X_V and VMV_X_M.
    busy : Out(1)
        A result is on its way or on an output.

    """

    #: Cycles from the transfer of an operation to its result.
    LATENCY = 2

    i: stream.Interface
    o: stream.Interface
    o_mask: stream.Interface
    o_scalar: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        vector, lanes = 8 * params.vector_bytes, params.fp32_lanes
        super().__init__(
            {
                "i": In(stream.Signature(move_operation_layout(params), always_ready=True)),
                "o": Out(stream.Signature(vector, always_ready=True)),
                "o_mask": Out(stream.Signature(lanes, always_ready=True)),
                "o_scalar": Out(stream.Signature(64, always_ready=True)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Take the operands into registers, and make the results from these.

        Nothing but these registers sees the inputs: while the unit's clock stands still, nothing
        in it changes, and a simulator has nothing to do.
        """
        m = Module()
        operation: Any = Signal(self.i.payload.shape(), reset_less=True)
        with m.If(self.i.valid):
            m.d.sync += operation.eq(self.i.payload)
        vector, mask, scalar = self._vector(m, operation), _mask(m, operation), Signal(64)
        with m.If(operation.op == MoveOp.VMV_X_M):
            m.d.comb += scalar.eq(operation.mask_a)
        with m.Else():
            m.d.comb += scalar.eq(vector[:32].as_signed())
        to_mask, to_scalar = (
            Cat(self.i.payload.op == op for op in ops).any()
            for ops in (_MASK_RESULTS, _SCALAR_RESULTS)
        )
        outputs = {
            "o": (~to_mask & ~to_scalar, vector),
            "o_mask": (to_mask, mask),
            "o_scalar": (to_scalar, scalar),
        }
        under_way = []
        for name, (chosen, value) in outputs.items():
            port = getattr(self, name)
            valid = Signal(name=f"{name}_next")
            result = Signal(len(value), name=f"{name}_result", reset_less=True)
            m.d.sync += [valid.eq(self.i.valid & chosen), port.valid.eq(valid)]
            with m.If(valid):
                m.d.sync += result.eq(value)
            m.d.comb += port.payload.eq(result)
            under_way += [valid, port.valid]
        m.d.comb += self.busy.eq(Cat(under_way).any())
        return m

    def _vector(self, m: Module, operation: Any) -> Signal:
        """Return the vector that an operation makes; of VMV_X_V the scalar is in lane 0."""
        rows, block = self._params.matrix_rows, block_rows(self._params.fp32_lanes)
        a, b, kept = operation.a, operation.b, operation.scalar
        vector = Signal(len(a))
        fixed = {
            MoveOp.VTRANS_B8: _transposed(a, 8, width=8),
            MoveOp.VTRANS_B16: _transposed(a, 4, width=16),
            MoveOp.VTRANSI_B8: _transposed(a, rows, width=8),
            MoveOp.VTRANSI_B16: _transposed(a, rows, width=16),
            MoveOp.VPAD_B8: _padded(b, kept, rows, width=8),
            MoveOp.VPAD_B16: _padded(b, kept, rows, width=16),
            MoveOp.VPAD_B32: _padded(b, kept, block, width=32),
            MoveOp.VBC_X: operation.scalar[:32].replicate(self._params.fp32_lanes),
        }
        with m.Switch(operation.op):
            for op, value in fixed.items():
                with m.Case(op):
                    m.d.comb += vector.eq(value)
            with m.Default():
                m.d.comb += vector.eq(self._crossbar(m, operation))
        return vector

    def _crossbar(self, m: Module, operation: Any) -> Value:
        """Return for each lane the one that it takes of a followed by b."""
        lanes = self._params.fp32_lanes
        select = (lanes - 1).bit_length()
        block = _transposed_order(lanes, block_rows(lanes))
        sources = Cat(operation.a, operation.b)
        moved = []
        for n in range(lanes):
            place = Signal(range(2 * lanes), name=f"place_{n}")
            with m.Switch(operation.op):
                with m.Case(MoveOp.VTRANS_B32):
                    m.d.comb += place.eq(block[n])
                with m.Case(MoveOp.VSHUF):
                    m.d.comb += place.eq(operation.b.word_select(n, 32)[:select])
                with m.Case(MoveOp.VSLIDE):
                    m.d.comb += place.eq(operation.lane + n)
                with m.Case(MoveOp.VSEL):
                    m.d.comb += place.eq(Mux(operation.mask_a[n], n, lanes + n))
                with m.Default():  # VBC_L and VMV_X_V
                    m.d.comb += place.eq(operation.lane)
            moved.append(sources.word_select(place, 32))
        return Cat(moved)


def _mask(m: Module, operation: Any) -> Signal:
    """Return the mask that an operation makes."""
    p, q = operation.mask_a, operation.mask_b
    mask = Signal(len(p))
    with m.Switch(operation.op):
        with m.Case(MoveOp.MAND):
            m.d.comb += mask.eq(p & q)
        with m.Case(MoveOp.MOR):
            m.d.comb += mask.eq(p | q)
        with m.Case(MoveOp.MXOR):
            m.d.comb += mask.eq(p ^ q)
        with m.Case(MoveOp.MANDN):
            m.d.comb += mask.eq(p & ~q)
        with m.Default():  # VMV_M_X
            m.d.comb += mask.eq(operation.scalar)
    return mask


def _transposed_order(elements: int, rows: int) -> list[int]:
    """Return for each place of a transposed block of `rows` rows the place it comes from."""
    columns = elements // rows
    return [n % rows * columns + n // rows for n in range(elements)]


def _transposed(vector: Value, rows: int, *, width: int) -> Value:
    """Return a row-major block of `rows` rows, transposed."""
    order = _transposed_order(len(vector) // width, rows)
    return Cat(vector.word_select(place, width) for place in order)


def _padded(vector: Value, kept: Value, rows: int, *, width: int) -> Value:
    """Return a block of `rows` rows with zeros outside the kept rows and columns.

    `kept` has the number of rows in its lowest byte and that of columns in the next.
    """
    elements = len(vector) // width
    columns = elements // rows
    keep_row = Cat(kept[:8] > row for row in range(rows))
    keep_column = Cat(kept[8:16] > column for column in range(columns))
    return Cat(
        Mux(
            keep_row[n // columns] & keep_column[n % columns],
            vector.word_select(n, width),
            Const(0, width),
        )
        for n in range(elements)
    )
