"""A graph as a program for a node, with everything it needs but the inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain

import numpy as np
from d1_golden.assembler import assemble
from d1_golden.csr import CSR_BY_NAME
from d1_golden.params import LINE_BYTES, NodeParams
from numpy.typing import NDArray

from d1.compiler.evaluation import Evaluator
from d1.compiler.ir import (
    AllReduce,
    Choice,
    Computation,
    Exchange,
    Graph,
    Kernel,
    Loops,
    Operator,
    Pack,
    Product,
    Receive,
    Repeat,
    Send,
    Tensor,
    named,
    reads,
    writes,
)
from d1.compiler.kernel_key import kernel_key
from d1.compiler.llvm_ir import function
from d1.compiler.loops_lowering import Options, lower_loops
from d1.compiler.memory_plan import MemoryPlan, plan_memory
from d1.compiler.objects import machine_code, stack_bytes
from d1.compiler.pack_lowering import lower_pack
from d1.compiler.pieces import Piece, Window, pieces
from d1.compiler.product_lowering import lower_product, product_table
from d1.compiler.tile_code import Code, RegisterPressureError
from d1.device import Device, Evidence
from d1.errors import SramOverflowError
from d1.parallel.all_reduce import all_reduce_code, block_bytes
from d1.parallel.handover import list_bytes, receive_code, send_code

__all__ = [
    "Branch",
    "Executable",
    "LoweredKernel",
    "Program",
    "build",
    "cycle_limit",
    "forget_lowered",
    "lower",
]

_WORD = 8
#: Words of a kernel in the table before its arguments, and which of them is when it began.
_ENTRY, _BEGAN = 3, 2
#: What each thread has at least for what LLVM does not keep in registers.
_STACK_BYTES = 512
#: What a kernel takes besides its tensors and stacks, at most: arguments, constants, passes.
_KERNEL_BYTES = 8192
#: Tried in turn until a kernel fits in the registers.
_OPTIONS = (
    Options(unroll=4, whole_row=4, hoist=True),
    Options(unroll=2, whole_row=2, hoist=True),
    Options(unroll=1, whole_row=1, hoist=True),
    Options(unroll=1, whole_row=1, hoist=False),
)
#: Cycles after which a graph is given up, at least, and for each word of its tensors.
_LEAST_CYCLES, _CYCLES_PER_WORD = 1_000_000, 2_000
#: So many times that for a graph with loops.
_MOST_TURNS = 1_000
#: Arguments of a branch: lanes, word, line of the table, bytes to the next, bytes beyond.
_BRANCH_ARGUMENTS = 5


@dataclass(frozen=True)
class Branch:
    """Where a program goes on: with the next kernel, or with another one if a word is 0.

    It changes its own line of the table. Where nothing decides, the first number of the vector of
    lanes' numbers does, which is 0.

    Parameters
    ----------
    predicate
        The tensor that begins with the word, if there is one.
    distance
        How many kernels further the other one is; 1 is the next.
    operators
        What it is for, as operators of PyTorch; for explanations and errors alone.

    """

    predicate: Tensor | None
    distance: int
    operators: tuple[Operator, ...] = ()

    def __str__(self) -> str:
        return f"branch by {self.distance} unless {self.predicate and self.predicate.name}"


@dataclass(frozen=True)
class LoweredKernel:
    """A kernel with its code.

    Parameters
    ----------
    kernel
        What it computes.
    code
        The code on tiles.
    text
        The code as LLVM IR, or what else tells it from others.
    tensors
        Those whose addresses it takes.
    table
        What it reads besides.
    machine_code
        The code, where it is not made from LLVM IR.

    """

    kernel: Computation | Exchange | Branch
    code: Code
    text: str
    tensors: tuple[Tensor, ...]
    table: NDArray[np.uint32] | None
    machine_code: bytes | None = None


#: Kernels that were lowered before, by what their code follows from; None did not fit.
_lowered: dict[Hashable, tuple[LoweredKernel, list[Tensor]] | None] = {}


def lower(kernel: Computation | Exchange, params: NodeParams) -> LoweredKernel:
    """Return a kernel with its code; that of one like it if there was one.

    Raises
    ------
    RegisterPressureError
        It needs more registers than a thread has.

    """
    if isinstance(kernel, (AllReduce, Send, Receive)):
        return _lowered_exchange(kernel, params)
    kernel_part, tensors = kernel_key(kernel)
    key = (params, kernel_part)
    if key not in _lowered:
        try:
            _lowered[key] = (_lower(kernel, params), tensors)
        except RegisterPressureError:
            _lowered[key] = None
    known = _lowered[key]
    if known is None:
        raise RegisterPressureError("the kernel needs more registers than there are")
    lowered, places = known
    renamed = dict(zip(places, tensors, strict=True))
    return replace(lowered, kernel=kernel, tensors=tuple(renamed[t] for t in lowered.tensors))


def _lowered_exchange(kernel: Exchange, params: NodeParams) -> LoweredKernel:
    """Return what a node does with others; its table, filled when it runs, says with whom."""
    match kernel:
        case AllReduce():
            text = f"all {kernel.instruction} {kernel.nodes}"
            code = all_reduce_code(params, kernel.instruction, kernel.nodes)
            size = block_bytes(kernel)
        case Send():
            text, code, size = "send", send_code(), list_bytes(kernel)
        case Receive():
            text, code, size = f"receive {kernel.posts}", receive_code(kernel.posts), 0
    table = np.zeros(size // 4, np.uint32) if size else None
    return LoweredKernel(kernel, Code(), text, (), table, code)


def forget_lowered() -> None:
    """Forget the kernels that were lowered."""
    _lowered.clear()


def _lower(kernel: Computation, params: NodeParams) -> LoweredKernel:
    table = None
    match kernel:
        case Loops():
            code, evaluator, text = _first_that_fits(
                lambda options: lower_loops(kernel, params, options)
            )
        case Pack():
            code, evaluator = lower_pack(kernel, params)
            text = function("KERNEL", code)
        case Product():
            code, evaluator, text = _first_that_fits(
                lambda options: lower_product(kernel, params, options)
            )
            table = product_table(kernel, params)
    return LoweredKernel(kernel, code, text, tuple(evaluator.tensors), table)


def _steps(kernels: Sequence[Kernel]) -> list[Computation | Exchange | Branch]:
    """Return kernels in a row, with branches in the place of those that are made of several."""
    steps: list[Computation | Exchange | Branch] = []
    for kernel in kernels:
        first = len(steps)
        match kernel:
            case Choice():
                then, otherwise = _steps(kernel.then), _steps(kernel.otherwise)
                steps += [Branch(kernel.predicate, len(then) + 2, kernel.operators), *then]
                steps += [Branch(None, len(otherwise) + 1, kernel.operators), *otherwise]
            case Repeat():
                condition, body = _steps(kernel.condition), _steps((*kernel.body, *kernel.moves))
                steps += [
                    *condition,
                    Branch(kernel.predicate, len(body) + 2, kernel.operators),
                    *body,
                ]
                steps.append(Branch(None, -len(condition) - 1 - len(body), kernel.operators))
            case _:
                steps.append(kernel)
        steps[first:] = [
            step if step.operators else replace(step, operators=kernel.operators)
            for step in steps[first:]
        ]
    return steps


def _lowered_step(step: Computation | Exchange | Branch, params: NodeParams) -> LoweredKernel:
    if not isinstance(step, Branch):
        return lower(step, params)
    code = Code()
    word = code.scalar("load32", code.argument(1))
    further = code.scalar("mul", code.scalar("eq", word, 0), code.argument(4))
    code.scalar("store64", code.argument(2), code.scalar("add", code.argument(3), further))
    tensors = () if step.predicate is None else (step.predicate,)
    return LoweredKernel(step, code, function("KERNEL", code), tensors, None)


def _first_that_fits(
    lower_with: Callable[[Options], tuple[Code, Evaluator]],
) -> tuple[Code, Evaluator, str]:
    for options in _OPTIONS:
        code, evaluator = lower_with(options)
        try:
            return code, evaluator, function("KERNEL", code)
        except RegisterPressureError:
            if options is _OPTIONS[-1]:
                raise
    raise AssertionError("there are options")


@cache
def _start(stack: int) -> bytes:
    """Return the code that calls the kernels of a table, one after the other, in every thread.

    The table begins with where the stacks are; then for each kernel: where its code is, from the
    start of this; bytes to the next, which it may change; the cycle of thread 0 in which it began;
    the arguments. It ends with 0 for the code, bytes that do not matter, and the cycle of the end.
    """
    return assemble(f"""
            auipc s0, 0
            mv s1, a0
            csrr s2, {CSR_BY_NAME["mhartid"].name}
            ld sp, 0(s1)
            addi t0, s2, 1
            li t1, {stack}
            mul t0, t0, t1
            add sp, sp, t0
            addi s1, s1, {_WORD}
    next:   csrr t2, {CSR_BY_NAME["cycle"].name}
            bnez s2, go
            sd t2, {_BEGAN * _WORD}(s1)
    go:     ld t0, 0(s1)
            beqz t0, end
            add t0, t0, s0
            addi a0, s1, {_ENTRY * _WORD}
            mv a1, s2
            jalr ra, 0(t0)
            barrier 0
            ld t1, {_WORD}(s1)
            add s1, s1, t1
            j next
    end:    ecall
    """).code


@dataclass(frozen=True)
class Executable:
    """A graph, or a part of one, that one start of the node runs.

    Parameters
    ----------
    graph
        What it computes.
    kernels
        Its kernels with their code.
    program
        Machine code.
    image
        What is in SRAM besides tensors, addresses counted from where it starts.
    addresses
        Which 64-bit words of the image are addresses.
    began
        In which of them the program writes when each kernel began, and when the last ended.
    plan
        Where the tensors are, behind the image.
    windows
        Inputs and outputs that are parts of tensors, by themselves.

    """

    graph: Graph
    kernels: tuple[LoweredKernel, ...]
    program: bytes
    image: NDArray[np.uint64]
    addresses: NDArray[np.bool_]
    began: tuple[int, ...]
    plan: MemoryPlan
    windows: Mapping[Tensor, Window] = field(default_factory=dict)

    @property
    def data_bytes(self) -> int:
        """Bytes of SRAM that it takes besides the program."""
        return self.image.nbytes + self.plan.peak

    @property
    def host_writes(self) -> int:
        """Bytes that the host writes for each run, besides the program, which it writes once."""
        return self.image.nbytes + sum(tensor.bytes for tensor in self.graph.inputs)

    @property
    def host_reads(self) -> int:
        """Bytes that the host reads after each run."""
        return sum(tensor.bytes for tensor in self.graph.outputs)

    def table(self, number: int) -> int:
        """Return where in the image the table of a kernel is, in bytes: its last argument."""
        return int(self.image[self.began[number + 1] - _BEGAN - 1])

    @property
    def table_bytes(self) -> int:
        """Bytes of the table of kernels, where the image begins."""
        return _WORD * (self.began[-1] + 1)

    def evidence(self, base: int) -> Evidence:
        """Return what tells in which kernel a run with its image at an address has failed.

        That is the last one that thread 0 called: none is called before all threads are done with
        the one before.
        """
        return Evidence(base, self.table_bytes, self._where)

    def _where(self, table: NDArray[np.uint8]) -> str:
        began = table.view(np.uint64)[list(self.began[:-1])]
        number = int(began.argmax())
        if not began[number]:
            return "before its first kernel"
        kernel = self.kernels[number].kernel
        operators = named(kernel.operators)
        return f"in kernel {number + 1} of {len(self.kernels)}, {str(kernel).splitlines()[0]}" + (
            f", of {operators}" if operators else ""
        )

    def run(self, device: Device, inputs: Sequence[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
        """Return the words of the outputs.

        Parameters
        ----------
        device
            Where.
        inputs
            The words of each input.

        Raises
        ------
        DeviceError
            The device failed.

        """
        return self._run(device, inputs, 0)[0]

    def profile(
        self, device: Device, inputs: Sequence[NDArray[np.uint32]]
    ) -> tuple[list[NDArray[np.uint32]], list[int]]:
        """Return the words of the outputs, as `run` does, and the cycles of each kernel.

        They are those of thread 0 from the call of a kernel to that of the next, with the barrier.
        The golden node, which has no time, counts its instructions instead.
        """
        results, image = self._run(device, inputs, self.table_bytes)
        began = image.view(np.uint64)[list(self.began)].astype(np.int64)
        return results, np.diff(began).tolist()

    def _run(
        self, device: Device, inputs: Sequence[NDArray[np.uint32]], image_bytes: int
    ) -> tuple[list[NDArray[np.uint32]], NDArray[np.uint32]]:
        """Return the words of the outputs, and so much of the image as the program has left it."""
        with device.lock, device.data.scratch(self.data_bytes) as base:
            image = self.image + np.uint64(base) * self.addresses
            start = base + image.nbytes
            places = [start + self.plan.places[tensor] for tensor in self.graph.inputs]
            left, *results = device.call(
                self.program,
                base,
                threads=device.params.threads,
                inputs=[(base, image), *zip(places, inputs, strict=True)],
                outputs=[
                    (base, image_bytes),
                    *((start + self.plan.places[t], t.bytes) for t in self.graph.outputs),
                ],
                evidence=self.evidence(base),
                max_cycles=cycle_limit(self),
            )
        return [result.view(np.uint32) for result in results], left.view(np.uint32)


def cycle_limit(executable: Executable) -> int:
    """Return the cycles after which a run is given up."""
    once = _LEAST_CYCLES + _CYCLES_PER_WORD * executable.plan.unplanned
    branches = (k.kernel for k in executable.kernels if isinstance(k.kernel, Branch))
    return once * (_MOST_TURNS if any(branch.distance < 0 for branch in branches) else 1)


@dataclass(frozen=True)
class Program:
    """A graph as one executable, or as several that pass tensors on through the host's memory.

    Parameters
    ----------
    graph
        What it computes.
    parts
        In order.

    """

    graph: Graph
    parts: tuple[Executable, ...]

    @property
    def peak(self) -> int:
        """Most bytes of tensors in SRAM at a time."""
        return max(part.plan.peak for part in self.parts)

    @property
    def unplanned(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.graph.tensors())

    def run(self, device: Device, inputs: Sequence[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
        """Return the words of the outputs; as `Executable.run`."""
        return self._run(inputs, lambda part, known: part.run(device, known))

    def profile(
        self, device: Device, inputs: Sequence[NDArray[np.uint32]]
    ) -> tuple[list[NDArray[np.uint32]], list[int]]:
        """Return the words of the outputs and the cycles of each kernel; as `Executable.profile`.

        In the order of the parts' kernels.
        """
        cycles: list[int] = []

        def run(part: Executable, known: list[NDArray[np.uint32]]) -> list[NDArray[np.uint32]]:
            results, of_part = part.profile(device, known)
            cycles.extend(of_part)
            return results

        return self._run(inputs, run), cycles

    def _run(
        self,
        inputs: Sequence[NDArray[np.uint32]],
        run: Callable[[Executable, list[NDArray[np.uint32]]], list[NDArray[np.uint32]]],
    ) -> list[NDArray[np.uint32]]:
        known = dict(zip(self.graph.inputs, inputs, strict=True))
        for part in self.parts:
            results = run(part, [_taken(known, part, tensor) for tensor in part.graph.inputs])
            for tensor, words in zip(part.graph.outputs, results, strict=True):
                _put(known, part, tensor, words)
        return [known[tensor] for tensor in self.graph.outputs]


def _taken(
    known: dict[Tensor, NDArray[np.uint32]], part: Executable, tensor: Tensor
) -> NDArray[np.uint32]:
    """Return the words of an input of a part."""
    window = part.windows.get(tensor)
    return known[tensor] if window is None else window.taken(known[window.whole])


def _put(
    known: dict[Tensor, NDArray[np.uint32]],
    part: Executable,
    tensor: Tensor,
    words: NDArray[np.uint32],
) -> None:
    """Keep the words of an output of a part."""
    window = part.windows.get(tensor)
    if window is None:
        known[tensor] = words
        return
    if window.whole not in known:
        known[window.whole] = np.zeros(window.whole.words, np.uint32)
    window.put(words, known[window.whole])


def build(graph: Graph) -> Program:
    """Return a graph as a program.

    Where it does not fit in the SRAM of a node, it is cut between kernels; a kernel that does not
    fit alone is cut into pieces.

    Raises
    ------
    SramOverflowError
        A single kernel does not fit and has no pieces that do; the message names its largest
        tensor.

    """
    kernels = [
        tuple(_lowered_step(step, graph.params) for step in _steps([kernel]))
        for kernel in graph.kernels
    ]
    steps = [step for group in kernels for step in group]
    codes = {k.text: k.machine_code for k in steps if k.machine_code is not None}
    codes |= machine_code({k.text: k.text for k in steps if k.machine_code is None})
    parts = []
    start = 0
    while start < len(kernels):
        # The most kernels that fit; whatever is tried last does.
        fits, too_many, part = start, len(kernels) + 1, None
        while too_many - fits > 1:
            stop = (fits + too_many + 1) // 2 if too_many <= len(kernels) else len(kernels)
            tried = _executable(
                _part(graph, start, stop), tuple(chain(*kernels[start:stop])), codes
            )
            if _excess(tried):
                too_many = stop
            else:
                fits, part = stop, tried
        if part is None:
            parts += _in_pieces(tried)
            fits = start + 1
        else:
            parts.append(part)
        start = fits
    return Program(graph, tuple(parts))


def _in_pieces(whole: Executable) -> list[Executable]:
    """Return a program of one kernel that does not fit as several that do."""
    params = whole.graph.params
    limit = _data_bytes(params) - _KERNEL_BYTES - _STACK_BYTES * params.threads
    parts = []
    (undivided,) = whole.graph.kernels
    # What nodes do together they do at once, and branches are within one program.
    found = pieces(undivided, params, limit) if isinstance(undivided, Computation) else []
    for piece in found:
        kernel = lower(piece.kernel, params)
        codes = machine_code({kernel.text: kernel.text})
        part = _executable(_graph_of(piece, params), (kernel,), codes)
        windows = {window.part: window for window in (*piece.inputs, *piece.outputs)}
        parts.append(replace(part, windows=windows))
    if not parts or any(map(_excess, parts)):
        raise SramOverflowError(_excess(whole))
    return parts


def _graph_of(piece: Piece, params: NodeParams) -> Graph:
    windows = [window.part for window in piece.inputs]
    others = [
        tensor
        for tensor in reads(piece.kernel)
        if tensor not in windows and tensor.contents is None
    ]
    outputs = [window.part for window in piece.outputs]
    return Graph(params, [*windows, *others], outputs, [piece.kernel])


def _part(graph: Graph, start: int, stop: int) -> Graph:
    """Return some of the kernels of a graph as a graph."""
    kernels = graph.kernels[start:stop]
    written = {tensor for kernel in kernels for tensor in writes(kernel)}
    read = dict.fromkeys(tensor for kernel in kernels for tensor in reads(kernel))
    later = {tensor for kernel in graph.kernels[stop:] for tensor in reads(kernel)}
    # What a loop goes on with may have been written before.
    before = {tensor for kernel in graph.kernels[:start] for tensor in writes(kernel)}
    inputs = [t for t in read if (t not in written or t in before) and t.contents is None]
    outputs = [
        t
        for t in dict.fromkeys(t for k in kernels for t in writes(k))
        if t in later or t in graph.outputs
    ]
    return Graph(graph.params, inputs, outputs, kernels)


def _executable(
    graph: Graph, kernels: tuple[LoweredKernel, ...], codes: dict[str, bytes]
) -> Executable:
    stack = max(_STACK_BYTES, _lines(max(stack_bytes(codes[k.text]) for k in kernels)))
    program = bytearray(_start(stack))
    places: dict[str, int] = {}
    for kernel in kernels:
        if kernel.text not in places:
            places[kernel.text] = len(program)
            program += codes[kernel.text]
    plan = plan_memory(graph)
    image, addresses, began = _image(graph, kernels, places, plan, stack)
    return Executable(graph, kernels, bytes(program), image, addresses, began, plan)


def _data_bytes(params: NodeParams) -> int:
    """Return the bytes of SRAM for data."""
    return params.sram_bytes - params.sram_bytes // 4


def _excess(executable: Executable) -> str:
    """Return what is wrong with the size of a program; nothing if it fits."""
    params, needed = executable.graph.params, executable.data_bytes
    data, code = _data_bytes(params), params.sram_bytes - _data_bytes(params)
    if needed <= data and len(executable.program) <= code:
        return ""
    largest = max(executable.plan.places, key=lambda tensor: tensor.bytes)
    operators = named(o for k in executable.kernels for o in k.kernel.operators)
    return (
        f"the kernel of {operators or 'the graph'} must fit in {data} bytes "
        f"for data and {code} for code (preset {params.name}), not take {needed} and "
        f"{len(executable.program)}; its largest tensor is {largest} with {largest.bytes} bytes"
    )


def _image(
    graph: Graph,
    kernels: Sequence[LoweredKernel],
    code: dict[str, int],
    plan: MemoryPlan,
    stack: int,
) -> tuple[NDArray[np.uint64], NDArray[np.bool_], tuple[int, ...]]:
    """Return what is in SRAM besides tensors: the table of kernels, stacks, constants.

    With which words of it are addresses, and which say when each kernel and the end began.
    """
    sizes = [
        _ENTRY
        + (
            _BRANCH_ARGUMENTS
            if isinstance(k.kernel, Branch)
            else 1 + len(k.tensors) + (k.table is not None)
        )
        for k in kernels
    ]
    began = [1 + sum(sizes[:n]) + _BEGAN for n in range(len(sizes) + 1)]
    at = _lines(_WORD * (began[-1] + 1))
    stacks = at
    at += stack * graph.params.threads
    blobs: list[tuple[int, NDArray[np.uint32]]] = []

    def put(contents: NDArray[np.uint32]) -> int:
        nonlocal at
        place = at
        blobs.append((place, contents))
        at += _lines(contents.nbytes)
        return place

    lanes = put(np.arange(graph.params.fp32_lanes, dtype=np.uint32))
    constants = {
        t: put(t.contents)
        for t in dict.fromkeys(t for kernel in kernels for t in kernel.tensors)
        if t.contents is not None
    }
    tables = [None if k.table is None else put(k.table) for k in kernels]
    words, relative = [stacks], [True]
    for n, (kernel, size, table) in enumerate(zip(kernels, sizes, tables, strict=True)):
        line = len(words)
        arguments = [lanes]
        arguments += [
            constants[t] if t in constants else at + plan.places[t] for t in kernel.tensors
        ]
        arguments += [] if table is None else [table]
        distances: list[int] = []
        if isinstance(kernel.kernel, Branch):
            arguments += [] if kernel.tensors else [lanes]
            arguments.append(_WORD * (line + 1))
            beyond = began[n + kernel.kernel.distance] - began[n] - size
            distances = [_WORD * size, _WORD * beyond]
        words += [code[kernel.text], _WORD * size, 0, *arguments, *distances]
        relative += [*_ENTRY * [False], *len(arguments) * [True], *len(distances) * [False]]
    image = np.zeros(at // _WORD, np.uint64)
    addresses = np.zeros(at // _WORD, np.bool_)
    image[: len(words)], addresses[: len(relative)] = np.array(words, np.int64), relative
    for place, contents in blobs:
        image.view(np.uint32)[place // 4 : place // 4 + contents.size] = contents
    return image, addresses, tuple(began)


def _lines(size: int) -> int:
    return -(-size // LINE_BYTES) * LINE_BYTES
