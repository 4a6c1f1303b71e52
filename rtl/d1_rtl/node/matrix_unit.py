"""The matrix unit: an array of fused dot products and its accumulators."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..numerics.cfp8 import Cfp8Config
from ..numerics.dot_product import DotProduct
from ..numerics.operand_decoder import DotOperandSignature, OperandDecoder

__all__ = ["MatrixOp", "MatrixUnit", "matrix_operation_layout"]


class MatrixOp(enum.Enum, shape=2):
    """What the matrix unit does."""

    STEP = 0  #: multiply and accumulate
    ZERO = 1  #: clear an accumulator
    READ = 2  #: read a part of an accumulator
    WRITE = 3  #: write a part of an accumulator


def matrix_operation_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of an operation of the matrix unit.

    Members
    -------
    a, b : 8 x vector_bytes
        STEP: the operand tiles. WRITE: `a` is the part to be written. The vectors come first so
        that a simulator finds their words aligned.
    op : MatrixOp
    first : 1
        STEP: start from +0 instead of from the accumulator.
    cfp8, half : 1
        STEP: the tiles are CFP8; take columns 4..7 instead of 0..3.
    a_config, b_config : Cfp8Config
        STEP with `cfp8`: biases and splits.
    acc
        Number of the accumulator, less than `NodeParams.accumulators`.
    part
        READ and WRITE: which part, less than `NodeParams.accumulator_parts`.
    """
    return data.StructLayout(
        {
            "a": 8 * params.vector_bytes,
            "b": 8 * params.vector_bytes,
            "op": MatrixOp,
            "first": 1,
            "cfp8": 1,
            "half": 1,
            "a_config": Cfp8Config,
            "b_config": Cfp8Config,
            "acc": (params.accumulators - 1).bit_length(),
            "part": (params.accumulator_parts - 1).bit_length(),
        }
    )


class MatrixUnit(wiring.Component):
    """Multiply an R x 4 by a 4 x C tile each cycle and add to one of some R x C accumulators.

    An operation is decoded in the cycle after its transfer over `i`, and reads its accumulator in
    that cycle; a STEP writes it two cycles later. So the result of a STEP that is transferred in
    cycle t is there for any operation that is transferred in cycle t + 3 or later. The unit
    interlocks: it holds `ready` low while the accumulator that an operation has to read or to
    write out of order is in flight, and lets a STEP that is `first`, or a ZERO, pass. Three
    accumulators in rotation reach one STEP per cycle. A WRITE shares the accumulators' port and
    also waits in the one cycle in which a STEP, transferred two cycles before, is about to use it.
    `ready` depends on `payload` and not on `valid`; it rises after two cycles at the latest.

    The part that a READ transferred in cycle t asks for is on `o_read` in cycle t + 2, and only
    then.

    Element (r, k) of a BF16 tile is at bits 16 (4r + k) of its register, of a CFP8 tile at bits
    8 (8r + k). B is given transposed: row c of its tile is column c. Part p of an accumulator
    holds elements L p to L p + L - 1 of its rows one after the other, L = `NodeParams.fp32_lanes`.

    Accumulators keep their values through a reset; they start as +0.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `busy` is high.

    Golden twin: `d1_golden.numerics.dot_product.matrix_step`.

    Parameters
    ----------
    params
        R, C, the number of accumulators and F.

    Members
    -------
    i : In(stream.Signature(matrix_operation_layout(params)))
        Operations.
    o_read : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Parts that were read, in order.
    busy : Out(1)
        An operation was transferred and has not had its effect yet, or `o_read` is valid.

    """

    #: Cycles from the transfer of a READ to its part.
    READ_LATENCY = 2

    i: stream.Interface
    o_read: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "i": In(stream.Signature(matrix_operation_layout(params))),
                "o_read": Out(stream.Signature(8 * params.vector_bytes, always_ready=True)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Build control and datapath."""
        m = Module()
        params = self._params
        operation = self.i.payload
        m.submodules.control = control = _Control(params)
        m.submodules.operands = operands = _Operands(params)
        wiring.connect(m, wiring.flipped(self.i), control.i)
        m.d.comb += [
            operands.operation.eq(operation),
            operands.en.eq(control.take_operands),
            self.busy.eq(control.busy | self.o_read.valid),
        ]
        loaded = Signal(8 * params.vector_bytes, reset_less=True)
        with m.If(control.take_load):
            m.d.sync += loaded.eq(operation.a)

        values: list[Value] = []
        for row, a in enumerate(operands.a):
            for column, b in enumerate(operands.b):
                m.submodules[f"element_{row}_{column}"] = element = _Element(params)
                part, lane = divmod(len(values), params.fp32_lanes)
                wiring.connect(m, a, element.a)
                wiring.connect(m, b, element.b)
                m.d.comb += [
                    element.acc.eq(control.acc),
                    element.first.eq(control.first),
                    element.write_acc.eq(control.write_acc),
                    element.write_result.eq(control.write_result),
                    element.write_loaded.eq(control.write_loaded[part]),
                    element.loaded.eq(loaded.word_select(lane, 32)),
                ]
                values.append(element.value)

        m.d.sync += self.o_read.valid.eq(control.read)
        for lane in range(params.fp32_lanes):
            register = Signal(32, name=f"read_{lane}", reset_less=True)
            with m.If(control.read), m.Switch(control.part):
                for part in range(params.accumulator_parts):
                    with m.Case(part):
                        m.d.sync += register.eq(values[part * params.fp32_lanes + lane])
            m.d.comb += self.o_read.payload.word_select(lane, 32).eq(register)
        return m


class _Control(wiring.Component):
    """Follow the operations through the stages, and hold off those that would be too early.

    `take_*` belong to the cycle of the transfer; the other outputs steer the elements. Stage 1
    reads an accumulator, stages 2 and 3 are those of the dot product, which writes at the end of
    stage 3.
    """

    i: stream.Interface
    take_operands: Signal  # a STEP or ZERO is transferred
    take_load: Signal  # a WRITE is transferred
    acc: Signal  # the accumulator of stage 1
    part: Signal
    first: Signal
    read: Signal
    write_acc: Signal  # the accumulator to be written
    write_result: Signal
    write_loaded: Signal  # which parts to write from what was loaded
    busy: Signal

    def __init__(self, params: NodeParams):
        layout = matrix_operation_layout(params)
        self._parts = params.accumulator_parts
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "take_operands": Out(1),
                "take_load": Out(1),
                "acc": Out(layout["acc"].shape),
                "part": Out(layout["part"].shape),
                "first": Out(1),
                "read": Out(1),
                "write_acc": Out(layout["acc"].shape),
                "write_result": Out(1),
                "write_loaded": Out(self._parts),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operation = self.i.payload
        is_read = operation.op == MatrixOp.READ
        is_write = operation.op == MatrixOp.WRITE
        is_zero = operation.op == MatrixOp.ZERO
        is_step = operation.op == MatrixOp.STEP

        step_1, step_2, step_3, write = (Signal(name=n) for n in ("s1", "s2", "s3", "write"))
        acc_2, acc_3 = (Signal.like(self.acc, name=n) for n in ("acc_2", "acc_3"))
        # At the end of stage 3 the result is written, just in time for a stage 1 that follows.
        in_flight = (step_1 & (self.acc == operation.acc)) | (step_2 & (acc_2 == operation.acc))
        ordered = is_read | is_write | (is_step & ~operation.first)
        port_taken = is_write & step_2
        transfer = Signal()
        m.d.comb += [
            self.i.ready.eq(~(ordered & in_flight | port_taken)),
            transfer.eq(self.i.valid & self.i.ready),
            self.take_operands.eq(transfer & (is_step | is_zero)),
            self.take_load.eq(transfer & is_write),
        ]
        m.d.sync += [
            step_1.eq(self.take_operands),
            write.eq(self.take_load),
            self.read.eq(transfer & is_read),
            step_2.eq(step_1),
            acc_2.eq(self.acc),
            step_3.eq(step_2),
            acc_3.eq(acc_2),
        ]
        with m.If(transfer):
            m.d.sync += [
                self.acc.eq(operation.acc),
                self.part.eq(operation.part),
                self.first.eq(operation.first | is_zero),
            ]
        m.d.comb += [
            self.write_acc.eq(Mux(write, self.acc, acc_3)),
            self.write_result.eq(step_3),
            self.busy.eq(step_1 | step_2 | step_3 | write | self.read),
        ]
        for part in range(self._parts):
            m.d.comb += self.write_loaded[part].eq(write & (self.part == part))
        return m


class _Operands(wiring.Component):
    """The operand tiles, row by row, each decoded once for all the elements that use it."""

    operation: data.View
    en: Signal  # take the tiles of `operation`
    a: list[wiring.PureInterface]
    b: list[wiring.PureInterface]

    def __init__(self, params: NodeParams):
        self._params = params
        operand = Out(DotOperandSignature())
        super().__init__(
            {
                "operation": In(matrix_operation_layout(params)),
                "en": In(1),
                "a": operand.array(params.matrix_rows),
                "b": operand.array(params.matrix_cols),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operation = self.operation
        for tile, config, rows, name in (
            (operation.a, operation.a_config, self.a, "a"),
            (operation.b, operation.b_config, self.b, "b"),
        ):
            for r, row in enumerate(rows):
                m.submodules[f"{name}_{r}"] = decoder = OperandDecoder()
                wiring.connect(m, decoder.o, wiring.flipped(row))
                m.d.comb += [
                    decoder.row.eq(tile.word_select(r, 64)),
                    decoder.cfp8.eq(operation.cfp8),
                    decoder.half.eq(operation.half),
                    decoder.config.eq(config),
                    decoder.zero.eq(operation.op == MatrixOp.ZERO),
                    decoder.en.eq(self.en),
                ]
        return m


class _Element(wiring.Component):
    """One element of every accumulator, with its dot product."""

    a: wiring.PureInterface
    b: wiring.PureInterface
    acc: Signal  # the accumulator to be read
    first: Signal
    value: Signal  # of the accumulator that is read
    write_acc: Signal  # the accumulator to be written, with
    write_result: Signal  # the result of the dot product, or
    write_loaded: Signal  # this value:
    loaded: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        acc = In(range(params.accumulators))
        super().__init__(
            {
                "a": In(DotOperandSignature()),
                "b": In(DotOperandSignature()),
                "acc": acc,
                "first": In(1),
                "value": Out(32),
                "write_acc": acc,
                "write_result": In(1),
                "write_loaded": In(1),
                "loaded": In(32),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self._params
        m.submodules.dot = dot = DotProduct(fraction_bits=params.dot_fraction_bits)
        store: memory.Memory = memory.Memory(shape=32, depth=params.accumulators, init=[])
        m.submodules.memory = store
        read, write = store.read_port(domain="comb"), store.write_port()
        wiring.connect(m, wiring.flipped(self.a), dot.a)
        wiring.connect(m, wiring.flipped(self.b), dot.b)
        m.d.comb += [
            read.addr.eq(self.acc),
            self.value.eq(read.data),
            dot.acc.eq(read.data),
            dot.first.eq(self.first),
            write.addr.eq(self.write_acc),
            write.en.eq(self.write_result | self.write_loaded),
            write.data.eq(Mux(self.write_loaded, self.loaded, dot.result)),
        ]
        return m
