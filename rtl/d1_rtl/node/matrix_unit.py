"""The matrix unit: an array of fused dot products and its accumulators."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from d1_golden.params import NodeParams

from ..numerics.cfp8 import Cfp8Config
from ..numerics.dot_product import DotProduct
from ..numerics.operand_decoder import DotOperandSignature, OperandDecoder
from ..turns import TURNS, TurnCounter, collected, delayed, word_of_turn
from .interfaces import THREAD_BITS

__all__ = [
    "MatrixOp",
    "MatrixUnit",
    "accumulator_part_layout",
    "matrix_operation_layout",
]


class MatrixOp(enum.Enum, shape=2):
    """What the matrix unit does to an accumulator."""

    STEP = 0  #: multiply and accumulate
    ZERO = 1  #: clear
    WRITE = 2  #: write a part


def accumulator_part_layout(params: NodeParams) -> data.StructLayout:
    """Return the layout of the place of a part of an accumulator.

    Members
    -------
    part
        Which part, less than `NodeParams.accumulator_parts`.
    acc
        Number of the accumulator, less than `NodeParams.accumulators`.
    thread
        Whose it is.
    """
    return data.StructLayout(
        {
            "part": (params.accumulator_parts - 1).bit_length(),
            "acc": (params.accumulators - 1).bit_length(),
            "thread": THREAD_BITS,
        }
    )


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
    place : accumulator_part_layout(params)
        The accumulator; WRITE: its part.
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
            "place": accumulator_part_layout(params),
        }
    )


class MatrixUnit(wiring.Component):
    """Multiply an R x 4 by a 4 x C tile each cycle and add to one of some R x C accumulators.

    An operation is decoded in the cycle after its transfer over `i`, a STEP reads its accumulator
    in that cycle, and all write theirs two cycles later. So what is transferred in cycle t has its
    effect for whatever is transferred in cycle t + `STEP_LATENCY` = t + 3 or later, and operations
    on one accumulator write in order. Whoever gives the operations must see to it that a STEP
    which is not `first`, and a read, come no earlier than that (`AccumulatorInterlock`). Three
    accumulators in rotation, of one thread or of several, reach one STEP per cycle.

    The part that is asked for over `i_read` in cycle t is on `o_read` in cycle t + `READ_LATENCY`
    = t + 2, and only then, whatever is transferred over `i`: the accumulators have a read port for
    each.

    Element (r, k) of a BF16 tile is at bits 16 (4r + k) of its register, of a CFP8 tile at bits
    8 (8r + k). B is given transposed: row c of its tile is column c. Part p of an accumulator
    holds elements L p to L p + L - 1 of its rows one after the other, L = `NodeParams.fp32_lanes`.

    On an FPGA there is a dot product for every `TURNS` elements, which it serves in turns
    (`Turns`).

    Accumulators keep their values through a reset; they start as +0.

    The unit may be in a clock domain that stands still while neither `i.valid` nor `i_read.valid`
    nor `busy` is high.

    Golden twin: `d1_golden.numerics.dot_product.matrix_step`.

    Parameters
    ----------
    params
        R, C, threads, the number of accumulators of each, and F.

    Members
    -------
    i : In(stream.Signature(matrix_operation_layout(params), always_ready=True))
        Operations.
    i_read : In(stream.Signature(accumulator_part_layout(params), always_ready=True))
        Parts to be read.
    o_read : Out(stream.Signature(8 * vector_bytes, always_ready=True))
        Parts that were read, in order.
    busy : Out(1)
        An operation was transferred and has not had its effect yet, or `o_read` is valid.

    """

    #: Cycles from the transfer of an operation to that of one that can read its accumulator.
    STEP_LATENCY = 3
    #: Cycles from asking for a part to the part.
    READ_LATENCY = 2

    i: stream.Interface
    i_read: stream.Interface
    o_read: stream.Interface
    busy: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        operation, part = matrix_operation_layout(params), accumulator_part_layout(params)
        super().__init__(
            {
                "i": In(stream.Signature(operation, always_ready=True)),
                "i_read": In(stream.Signature(part, always_ready=True)),
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
        wiring.connect(m, wiring.flipped(self.i), control.i)
        operands = self._operands(m, control.take_operands) if platform is None else None
        # What is written from a vector takes the same three cycles as a STEP.
        loaded: Value = operation.a
        for stage, en in enumerate(control.take_load, 1):
            register = Signal(8 * params.vector_bytes, name=f"loaded_{stage}", reset_less=True)
            with m.If(en):
                m.d.sync += register.eq(loaded)
            loaded = register

        wanted: Any = Signal(accumulator_part_layout(params), reset_less=True)
        reads = Signal()
        m.d.sync += [reads.eq(self.i_read.valid), self.o_read.valid.eq(reads)]
        with m.If(self.i_read.valid):
            m.d.sync += wanted.eq(self.i_read.payload)
        m.d.comb += self.busy.eq(control.busy | reads | self.o_read.valid)

        if operands is not None:
            self._parallel(m, operands, control, loaded, reads, wanted)
        else:
            self._in_turns(m, control, loaded, reads, wanted)
        return m

    def _operands(self, m: Module, take: Value) -> _Operands:
        """Add the decoders of whole tiles."""
        m.submodules.operands = operands = _Operands(self._params)
        m.d.comb += [
            operands.operation.eq(self.i.payload),
            operands.en.eq(take),
        ]
        return operands

    def _parallel(
        self,
        m: Module,
        operands: _Operands,
        control: _Control,
        loaded: Value,
        reads: Signal,
        wanted: Any,
    ) -> None:
        """Add a dot product for each element of an accumulator."""
        params = self._params
        values: list[Value] = []
        for row, a in enumerate(operands.a):
            for column, b in enumerate(operands.b):
                m.submodules[f"element_{row}_{column}"] = element = _Element(params)
                part, lane = divmod(len(values), params.fp32_lanes)
                wiring.connect(m, a, element.a)
                wiring.connect(m, b, element.b)
                m.d.comb += [
                    element.acc.eq(_accumulator(params, control.place)),
                    element.first.eq(control.first),
                    element.write_acc.eq(_accumulator(params, control.write_place)),
                    element.write_result.eq(control.write_result),
                    element.write_loaded.eq(control.write_loaded[part]),
                    element.loaded.eq(loaded.word_select(lane, 32)),
                    element.read_acc.eq(_accumulator(params, wanted)),
                ]
                values.append(element.read_value)

        for lane in range(params.fp32_lanes):
            read = Signal(32, name=f"read_{lane}", reset_less=True)
            with m.If(reads), m.Switch(wanted.part):
                for part in range(params.accumulator_parts):
                    with m.Case(part):
                        m.d.sync += read.eq(values[part * params.fp32_lanes + lane])
            m.d.comb += self.o_read.payload.word_select(lane, 32).eq(read)

    def _in_turns(
        self, m: Module, control: _Control, loaded: Value, reads: Signal, wanted: Any
    ) -> None:
        """Add a dot product for every `TURNS` elements, which it serves in turns."""
        params = self._params
        m.submodules.turns = turns = TurnCounter()
        operation = Signal.like(self.i.payload, name="operation", reset_less=True)
        with m.If(control.take_operands):
            m.d.sync += operation.eq(self.i.payload)
        parts: list[list[Value]] = [[] for _ in range(params.accumulator_parts)]
        for number in range(params.matrix_rows * params.matrix_cols // TURNS):
            m.submodules[f"elements_{number}"] = elements = _SerialElements(params, number)
            part, lane = divmod(number * TURNS, params.fp32_lanes)
            m.d.comb += [
                elements.turn.eq(turns.number),
                elements.operation.eq(operation),
                elements.acc.eq(_accumulator(params, control.place)),
                elements.first.eq(control.first),
                elements.write_acc.eq(_accumulator(params, control.write_place)),
                elements.write_result.eq(control.write_result),
                elements.write_loaded.eq(control.write_loaded[part]),
                elements.loaded.eq(
                    word_of_turn(loaded[32 * lane : 32 * (lane + TURNS)], turns.number, 32)
                ),
                elements.read_acc.eq(_accumulator(params, wanted)),
            ]
            parts[part].append(collected(m, elements.read_value, f"read_{number}"))
        read = Signal(8 * params.vector_bytes, name="read", reset_less=True)
        with m.If(reads), m.Switch(wanted.part):
            for number, values in enumerate(parts):
                with m.Case(number):
                    m.d.sync += read.eq(Cat(values))
        m.d.comb += self.o_read.payload.eq(read)


def _accumulator(params: NodeParams, place: Any) -> Value:
    """Return the number of an accumulator among those of all threads."""
    return Cat(place.acc, place.thread[: (params.threads - 1).bit_length()])


class _Control(wiring.Component):
    """Follow the operations through the stages.

    `take_operands` belongs to the cycle of the transfer, bit n of `take_load` to n cycles later;
    the other outputs steer the elements. Stage 1 reads an accumulator, stages 2 and 3 are those of
    the dot product, which writes at the end of stage 3.
    """

    i: stream.Interface
    take_operands: Signal  # a STEP or ZERO is transferred
    take_load: Signal  # a WRITE is transferred, in stage 1, in stage 2
    place: Any  # the accumulator of stage 1
    first: Signal
    write_place: Any  # the accumulator to be written
    write_result: Signal
    write_loaded: Signal  # which parts to write from what was loaded
    busy: Signal

    def __init__(self, params: NodeParams):
        part = accumulator_part_layout(params)
        self._parts = params.accumulator_parts
        super().__init__(
            {
                "i": In(stream.Signature(matrix_operation_layout(params), always_ready=True)),
                "take_operands": Out(1),
                "take_load": Out(3),
                "place": Out(part),
                "first": Out(1),
                "write_place": Out(part),
                "write_result": Out(1),
                "write_loaded": Out(self._parts),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        operation = self.i.payload
        writes = operation.op == MatrixOp.WRITE
        steps, loads = Signal(3), Signal(3)  # what is in stages 1, 2 and 3
        place_2: Any = Signal.like(self.place)
        m.d.comb += [
            self.take_operands.eq(self.i.valid & ~writes),
            self.take_load.eq(Cat(self.i.valid & writes, loads[:2])),
            self.write_result.eq(steps[2]),
            self.busy.eq((steps | loads).any()),
        ]
        m.d.sync += [
            steps.eq(Cat(self.take_operands, steps[:2])),
            loads.eq(self.take_load),
            place_2.eq(self.place),
            self.write_place.eq(place_2),
        ]
        with m.If(self.i.valid):
            m.d.sync += [
                self.place.eq(operation.place),
                self.first.eq(operation.first | (operation.op == MatrixOp.ZERO)),
            ]
        for part in range(self._parts):
            m.d.comb += self.write_loaded[part].eq(loads[2] & (self.write_place.part == part))
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


def _accumulator_rows(params: NodeParams) -> int:
    """Return the accumulators of all threads, each thread's rounded up to a power of two."""
    return params.threads << (params.accumulators - 1).bit_length()


def _accumulator_ports(params: NodeParams) -> dict[str, wiring.Member]:
    """Return the members with which one element of each accumulator is used."""
    acc = In(range(_accumulator_rows(params)))
    return {
        "acc": acc,
        "first": In(1),
        "read_acc": acc,
        "read_value": Out(32),
        "write_acc": acc,
        "write_result": In(1),
        "write_loaded": In(1),
        "loaded": In(32),
    }


class _Element(wiring.Component):
    """One element of every accumulator, with its dot product."""

    a: wiring.PureInterface
    b: wiring.PureInterface
    acc: Signal  # the accumulator of a step
    first: Signal
    read_acc: Signal  # the accumulator that is read out
    read_value: Signal
    write_acc: Signal  # the accumulator to be written, with
    write_result: Signal  # the result of the dot product, or
    write_loaded: Signal  # this value:
    loaded: Signal

    def __init__(self, params: NodeParams):
        self._params = params
        super().__init__(
            {
                "a": In(DotOperandSignature()),
                "b": In(DotOperandSignature()),
                **_accumulator_ports(params),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params = self._params
        m.submodules.dot = dot = DotProduct(fraction_bits=params.dot_fraction_bits)
        store: memory.Memory = memory.Memory(shape=32, depth=_accumulator_rows(params), init=[])
        m.submodules.memory = store
        step, read = (store.read_port(domain="comb") for _ in range(2))
        write = store.write_port()
        wiring.connect(m, wiring.flipped(self.a), dot.a)
        wiring.connect(m, wiring.flipped(self.b), dot.b)
        m.d.comb += [
            step.addr.eq(self.acc),
            read.addr.eq(self.read_acc),
            self.read_value.eq(read.data),
            dot.acc.eq(step.data),
            dot.first.eq(self.first),
            write.addr.eq(self.write_acc),
            write.en.eq(self.write_result | self.write_loaded),
            write.data.eq(Mux(self.write_loaded, self.loaded, dot.result)),
        ]
        return m


class _SerialElements(wiring.Component):
    """`TURNS` elements of every accumulator, one in each turn, with one dot product.

    Operands and accumulator are taken in the turns of a cycle, and the result is written in those
    of the cycle after next.
    """

    #: Turns from the operands of an element to its result: they are decoded first.
    _PIPELINE_TURNS = 3

    turn: Signal
    operation: Any
    acc: Signal  # as of `_Element`, each for the element of this turn
    first: Signal
    read_acc: Signal
    read_value: Signal
    write_acc: Signal
    write_result: Signal
    write_loaded: Signal
    loaded: Signal

    def __init__(self, params: NodeParams, number: int):
        self._params, self._number = params, number
        super().__init__(
            {
                "turn": In(range(TURNS)),
                "operation": In(matrix_operation_layout(params)),
                **_accumulator_ports(params),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        params, operation = self._params, self.operation
        dot = DotProduct(fraction_bits=params.dot_fraction_bits)
        m.submodules.dot = DomainRenamer("turn")(dot)
        places = [divmod(TURNS * self._number + turn, params.matrix_cols) for turn in range(TURNS)]
        for name, tile, config, operand, rows in (
            ("a", operation.a, operation.a_config, dot.a, [row for row, _ in places]),
            ("b", operation.b, operation.b_config, dot.b, [column for _, column in places]),
        ):
            decoder = OperandDecoder()
            m.submodules[name] = DomainRenamer("turn")(decoder)
            wiring.connect(m, decoder.o, operand)
            m.d.comb += [
                decoder.row.eq(Array(tile.word_select(row, 64) for row in rows)[self.turn]),
                decoder.cfp8.eq(operation.cfp8),
                decoder.half.eq(operation.half),
                decoder.config.eq(config),
                decoder.zero.eq(operation.op == MatrixOp.ZERO),
                decoder.en.eq(1),
            ]
        store: memory.Memory = memory.Memory(
            shape=32, depth=_accumulator_rows(params) * TURNS, init=[]
        )
        m.submodules.memory = store
        step, read = (store.read_port(domain="comb") for _ in range(2))
        write = store.write_port(domain="turn")
        result = delayed(m, dot.result, 2 * TURNS - self._PIPELINE_TURNS, "result")
        m.d.comb += [
            step.addr.eq(Cat(self.acc, self.turn)),
            read.addr.eq(Cat(self.read_acc, self.turn)),
            self.read_value.eq(read.data),
            write.addr.eq(Cat(self.write_acc, self.turn)),
            write.en.eq(self.write_result | self.write_loaded),
            write.data.eq(Mux(self.write_loaded, self.loaded, result)),
        ]
        m.d.turn += [dot.acc.eq(step.data), dot.first.eq(self.first)]
        return m
