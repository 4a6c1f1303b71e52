"""From graphs of ATen operators to programs for a node, and back to calls of PyTorch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from d1_golden.params import preset
from numpy.typing import NDArray
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase

from d1.compiler.builder import Builder, Value
from d1.compiler.cfp8_operands import use_cfp8
from d1.compiler.executable import Program, build
from d1.compiler.ir import Operator, Tensor
from d1.compiler.passes import optimized
from d1.device import shared_device
from d1.parallel.division import Division
from d1.parallel.shared_group import shared_group
from d1.torch.configuration import Settings, Statistics, count, settings
from d1.torch.lowerings import LOWERINGS, UnsupportedError
from d1.torch.lowerings.control_flow import known_value
from d1.torch.operations import operations
from d1.torch.parallel import Parallelism, parts, whole
from d1.torch.types import DTYPES, from_words, to_tiles, to_words

__all__ = [
    "CompiledGraph",
    "MeshGraph",
    "Observer",
    "Target",
    "compile_aten",
    "is_symbolic",
    "observers",
    "programs",
    "warn_once",
]

#: Under which nodes say whether they are gradients.
_GRADIENT = "d1_gradient"

#: The programs of the process in the order in which they were compiled, for explanations.
programs: list[Program] = []


class Observer(Protocol):
    """Is told what becomes of graphs; see `observers`."""

    def refused(self, operator: Any, reason: str) -> None:
        """Take note that an operator of the graph that is being compiled stays PyTorch's."""

    def compiled(self, graph: CompiledGraph) -> None:
        """Take note of a graph, or a part of one, that has been compiled."""

    def ran(self, graph: CompiledGraph, inputs: list[NDArray[np.uint32]]) -> None:
        """Take note of a run with what the host wrote."""


#: Who is told.
observers: list[Observer] = []


@dataclass(frozen=True)
class _Argument:
    """What the host writes to a tensor: an argument by rows, or some of its elements in tiles."""

    tensor: Tensor
    number: int
    rows: Value
    operand: Value | None

    def words(self, args: Sequence[Any]) -> NDArray[np.uint32]:
        return self.arranged(to_words(self.rows.ref.tensor, self.in_order(args)))

    def in_order(self, args: Sequence[Any]) -> torch.Tensor:
        """Return the argument with its dimensions as they are in memory."""
        strides = self.rows.ref.strides
        order = sorted(range(len(strides)), key=lambda n: -strides[n])
        argument: torch.Tensor = args[self.number].permute(order)
        return argument

    def arranged(self, words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Return rows as they are to be in SRAM."""
        if self.operand is None:
            return words
        return to_tiles(self.tensor, words, self.operand.ref, self.operand.shape)


@dataclass(frozen=True)
class _Output:
    """Where a result comes from: a value of the program, or PyTorch's view of an argument."""

    value: Value | None
    view: tuple[Node, ...]
    dtype: torch.dtype


@dataclass(eq=False)
class CompiledGraph:
    """A graph as a program, to be called with tensors.

    Parameters
    ----------
    program
        The program; None where nothing has to be computed.
    arguments
        What the host writes.
    outputs
        The results.
    placeholders
        The arguments in the graph.
    target
        Options of the model; what is not there follows the settings.
    operations
        Floating-point operations that it is.

    """

    program: Program | None
    arguments: list[_Argument]
    outputs: list[_Output | None]
    placeholders: list[Node]
    target: Target
    operations: int = field(default=0, init=False)

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        """Return the results for some arguments."""
        results: dict[Tensor, NDArray[np.uint32]] = {}
        if self.program is not None:
            chosen = chosen_settings(self.target)
            device = shared_device(chosen.device, chosen.preset)
            seeded = (*args, *self._seed())
            inputs = [argument.words(seeded) for argument in self.arguments]
            words = self.program.run(device, inputs)
            results = dict(zip(self.program.graph.outputs, words, strict=True))
            checked = self._check(chosen, inputs, words)
            count(Statistics(graphs=1, operations=self.operations, **checked))
            for observer in observers:
                observer.ran(self, inputs)
        return self._results(results, args)

    def _seed(self) -> tuple[torch.Tensor, ...]:
        """Return the two words behind the arguments that random numbers are made of, if any are."""
        if all(argument.number < len(self.placeholders) for argument in self.arguments):
            return ()
        return (torch.randint(-(1 << 31), 1 << 31, (2,)),)

    def _check(
        self, chosen: Settings, inputs: list[NDArray[np.uint32]], words: list[NDArray[np.uint32]]
    ) -> dict[str, int]:
        """Compare with the golden node, if that is wanted; return what to count."""
        if not chosen.check or chosen.device == "golden":
            return {}
        assert self.program is not None
        expected = self.program.run(shared_device("golden", chosen.preset), inputs)
        return _differences(words, expected)

    def _results(
        self, results: dict[Tensor, NDArray[np.uint32]], args: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        return tuple(self._result(output, results, args) for output in self.outputs)

    def _result(
        self,
        output: _Output | None,
        results: dict[Tensor, NDArray[np.uint32]],
        args: tuple[Any, ...],
    ) -> Any:
        if output is None:
            return None
        if output.value is not None:
            tensor = output.value.ref.tensor
            return from_words(results[tensor], output.value, output.dtype)
        known: dict[Node, Any] = dict(zip(self.placeholders, args, strict=True))
        result = known.get(output.view[0])
        for node in output.view[1:]:
            assert callable(node.target)
            result = node.target(result, *node.args[1:], **node.kwargs)
        return result


@dataclass
class MeshGraph(CompiledGraph):
    """A graph as programs for the nodes of a rectangle.

    Parameters
    ----------
    division
        How it is divided.

    """

    division: Division

    def __call__(self, *args: Any) -> tuple[Any, ...]:
        """Return the results for some arguments."""
        assert self.program is not None
        chosen = chosen_settings(self.target)
        seeded = (*args, *self._seed())
        inputs = {argument.tensor: self._parts(argument, seeded) for argument in self.arguments}
        for tensor, numbers in self.division.numbers().items():
            inputs[tensor] = [np.array([number], np.uint32) for number in numbers]
        results, cycles = self._run(chosen.device, chosen, inputs)
        checked = {}
        if chosen.check and chosen.device != "golden":
            expected, _ = self._run("golden", chosen, inputs)
            checked = _differences(list(results.values()), list(expected.values()))
        computed = self.operations
        count(Statistics(graphs=1, operations=computed, mesh_cycles=cycles, **checked))
        return self._results(results, args)

    def _parts(self, argument: _Argument, args: tuple[Any, ...]) -> list[NDArray[np.uint32]]:
        """Return what the host writes of an argument for each part."""
        part = argument.operand.ref.tensor if argument.operand else argument.tensor
        shape = self.division.origin(part).shape
        rows = parts(part, argument.in_order(args), shape, self.division.split(part))
        return [argument.arranged(words) for words in rows]

    def _run(
        self, device: str, chosen: Settings, inputs: dict[Tensor, list[NDArray[np.uint32]]]
    ) -> tuple[dict[Tensor, NDArray[np.uint32]], int]:
        """Return the words of the outputs of the whole graph, and the cycles."""
        assert self.program is not None
        group = shared_group(device, chosen.preset, chosen.nodes)
        run = self.division.run(self.program, group, inputs)
        results = {
            tensor: whole(self.division, tensor, run.outputs)
            for tensor in self.division.levels[0].partition.outputs
        }
        return results, run.cycles


def _differences(
    words: list[NDArray[np.uint32]], expected: list[NDArray[np.uint32]]
) -> dict[str, int]:
    """Return what to count of a comparison."""
    differing = sum(
        int(np.bitwise_count(a ^ b).sum()) for a, b in zip(words, expected, strict=True)
    )
    return {"checked_outputs": sum(w.size for w in words), "differing_bits": differing}


class Target(dict[str, Any]):
    """Options of a model, and how its graphs are divided.

    Members
    -------
    parallelism : Parallelism

    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(options)
        self.parallelism = Parallelism()


def chosen_settings(target: Mapping[str, Any]) -> Settings:
    """Return the settings that apply to a model with some options."""
    return Settings(**(vars(settings()) | dict(target)))


def compile_aten(module: GraphModule, target: Target) -> Callable[..., Sequence[Any]]:
    """Compile a graph of ATen operators.

    What cannot be compiled stays PyTorch's, with a warning that names the operator. A graph with
    symbolic sizes is compiled for each shape that it is called with.
    """
    _mark_gradients(module, [_is_tangent(node) for node in _placeholders(module)])
    if is_symbolic(module):
        return _Specialised(module, target)
    return _compile(module, target)


def _placeholders(module: GraphModule) -> list[Node]:
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def _is_tangent(node: Node) -> bool:
    """Return whether an argument is a gradient that autograd brings to a backward graph."""
    return "tangents" in str(node.target)


def _mark_gradients(module: GraphModule, arguments: Sequence[bool]) -> None:
    """Take note in a graph, for the parts that it may come to, what follows from gradients."""
    for node, is_gradient in zip(_placeholders(module), arguments, strict=True):
        node.meta[_GRADIENT] = is_gradient
    for node in module.graph.nodes:
        if node.op != "placeholder":
            node.meta[_GRADIENT] = any(n.meta[_GRADIENT] for n in node.all_input_nodes)


class _Specialised:
    """A graph that is traced again for each set of shapes."""

    def __init__(self, module: GraphModule, target: Target) -> None:
        self.module, self.target = module, target
        self.compiled: dict[Any, Callable[..., Sequence[Any]]] = {}

    def __call__(self, *args: Any) -> Sequence[Any]:
        key = tuple((x.shape, x.dtype) if isinstance(x, torch.Tensor) else x for x in args)
        if key not in self.compiled:
            traced = make_fx(self.module, tracing_mode="fake")(*args)
            _mark_gradients(traced, [n.meta[_GRADIENT] for n in _placeholders(self.module)])
            self.compiled[key] = _compile(traced, self.target)
        return self.compiled[key](*args)


def is_symbolic(module: GraphModule) -> bool:
    """Return whether sizes in a graph are known only when it runs."""
    return any(
        isinstance(value, torch.SymInt)
        or (
            isinstance(value, torch.Tensor)
            and any(isinstance(s, torch.SymInt) for s in value.shape)
        )
        for node in module.graph.nodes
        for value in [node.meta.get("val")]
    )


def _compile(module: GraphModule, target: Target) -> Callable[..., Sequence[Any]]:
    """Compile all of a graph, or the parts that can be."""
    refused: dict[Node, str] = {
        node: reason for node in module.graph.nodes if (reason := _refusal(node))
    }
    while True:
        if not refused:
            try:
                return _program(module, target)
            except _NodeError as error:
                refused[error.node] = error.reason
                continue
        _warn(refused)
        return _partitioned(module, refused, target)


class _NodeError(Exception):
    """A node of a graph cannot be lowered."""

    def __init__(self, node: Node, reason: str) -> None:
        super().__init__(f"{node.target}: {reason}")
        self.node, self.reason = node, reason


_warned: set[str] = set()


def _warn(refused: dict[Node, str]) -> None:
    for node, reason in refused.items():
        for observer in observers:
            observer.refused(node.target, reason)
        warn_once(node.target, reason)


def warn_once(target: Any, reason: str) -> None:
    """Warn that an operator stays PyTorch's, the first time."""
    message = f"{target} stays PyTorch's: {reason}"
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=2)


def _refusal(node: Node) -> str:
    """Return why a node cannot be compiled, as far as its types tell; nothing if it may be."""
    if node.op in ("placeholder", "output"):
        return ""
    if node.op == "get_attr":
        constant = _attribute(node)
        return "" if isinstance(constant, GraphModule) else _refused_tensor(constant)
    if node.op != "call_function":
        return f"a node of kind {node.op}"
    if node.target not in LOWERINGS:
        return "there is no lowering"
    for inner in [n for graph in _inner_graphs(node) for n in graph.nodes]:
        if reason := _refusal(inner):
            return f"in it {inner.target}, {reason}"
    for value in [n.meta.get("val") for n in (node, *node.all_input_nodes)]:
        for tensor in value if isinstance(value, (tuple, list)) else [value]:
            if isinstance(tensor, torch.Tensor) and (reason := _refused_tensor(tensor)):
                return reason
    return ""


def _refused_tensor(tensor: torch.Tensor) -> str:
    """Return why a tensor cannot be on the node; nothing if it can."""
    if tensor.dtype not in DTYPES:
        return f"tensors of {tensor.dtype}"
    if tensor.device.type != "cpu":
        return f"a tensor on {tensor.device}"
    if 0 in tensor.shape:
        return f"an empty tensor of shape {tuple(tensor.shape)}"
    return ""


def _attribute(node: Node) -> Any:
    return getattr(node.graph.owning_module, str(node.target))


def _inner_graphs(node: Node) -> list[Graph]:
    """Return the graphs that a node computes, depending on data."""
    attributes = [_attribute(n) for n in node.all_input_nodes if n.op == "get_attr"]
    return [module.graph for module in attributes if isinstance(module, GraphModule)]


class _Support(OperatorSupportBase):
    """Tells the partitioner which nodes are compiled."""

    def __init__(self, refused: dict[Node, str]) -> None:
        self.refused = refused

    def is_node_supported(self, submodules: Any, node: Node) -> bool:
        is_simple = node.op == "call_function" and not _inner_graphs(node)
        return is_simple and node not in self.refused


def _partitioned(
    module: GraphModule, refused: dict[Node, str], target: Target
) -> Callable[..., Sequence[Any]]:
    """Compile the parts of a graph between what stays PyTorch's."""
    partitioner = CapabilityBasedPartitioner(
        module, _Support(refused), allows_single_node_partition=True
    )
    fused = partitioner.fuse_partitions(partitioner.propose_partitions())
    if {node.op for node in fused.graph.nodes} == {"placeholder", "call_module", "output"}:
        # The partitioner keeps the results of an operator with it: nothing can be separated.
        whole = Interpreter(module)
        return lambda *args: whole.run(*args)
    for node in fused.graph.nodes:
        if node.op == "call_module":
            part = fused.get_submodule(node.target)
            assert isinstance(part, GraphModule)
            fused.add_submodule(node.target, _Part(part, target))
    interpreter = Interpreter(fused)
    return lambda *args: interpreter.run(*args)


class _Part(torch.nn.Module):
    """A part of a graph, compiled."""

    def __init__(self, part: GraphModule, target: Target) -> None:
        super().__init__()
        *_, last = part.graph.nodes
        self.single = not isinstance(last.args[0], (tuple, list))
        self.compiled = _compile(part, target)

    def forward(self, *args: Any) -> Any:
        """Return the results of the part."""
        results = self.compiled(*args)
        return results[0] if self.single else results


def _program(module: GraphModule, target: Target) -> Callable[..., Sequence[Any]]:
    """Compile a graph that has no operator but those with lowerings."""
    chosen = chosen_settings(target)
    builder = Builder(preset(chosen.preset), fp32_products=chosen.precision == "fp32")
    values: dict[Node, Any] = {}
    placeholders: list[Node] = []
    sources: dict[Tensor, tuple[int, Value]] = {}
    nodes = list(module.graph.nodes)
    for node in nodes:
        if node.op == "placeholder":
            placeholders.append(node)
            example = node.meta.get("val")
            if (
                isinstance(example, torch.Tensor)
                and example.dtype in DTYPES
                and 0 not in example.shape
            ):
                value = builder.input(tuple(example.shape), DTYPES[example.dtype])
                sources[value.ref.tensor] = len(placeholders) - 1, value
                values[node] = value
        elif node.op != "output":
            values[node] = _lower(builder, node, values)
    builder.graph.gradients = [
        tensor for tensor, (n, _) in sources.items() if placeholders[n].meta[_GRADIENT]
    ]
    if chosen.precision == "cfp8" or builder.graph.seed is not None:
        seed, _ = builder.random_key()
        sources[seed.ref.tensor] = len(placeholders), seed
    (results,) = nodes[-1].args
    results = results if isinstance(results, (tuple, list)) else (results,)
    outputs = [_output(builder, result, values) for result in results]
    named = [
        (node, output.value)
        for node, output in zip(results, outputs, strict=True)
        if output is not None and output.value is not None
    ]
    compiled = _finished(builder, sources, outputs, named, placeholders, target)
    compiled.operations = sum(map(_operations, nodes))
    return compiled


def _operations(node: Node) -> int:
    """Return how many floating-point operations a node is."""
    arguments = torch.fx.node.map_arg(node.args, lambda n: n.meta.get("val"))
    return operations(node.target, arguments, node.meta.get("val"))


def _lower(builder: Builder, node: Node, values: dict[Node, Any]) -> Any:
    def known(argument: Any) -> Any:
        return torch.fx.node.map_arg(argument, lambda n: values[n])

    try:
        if node.op == "get_attr":
            return known_value(builder, _attribute(node))
        lower = LOWERINGS[node.target].function
        with builder.naming((Operator(str(node.target), _source(node)),)):
            value = lower(builder, *known(node.args), **known(node.kwargs))
    except UnsupportedError as error:
        raise _NodeError(node, str(error)) from None
    if not _is_like(value, node.meta.get("val")):
        raise _NodeError(node, "its lowering gives another type or shape than PyTorch")
    return value


def _is_like(value: Any, example: Any) -> bool:
    """Return whether results have the types and shapes that PyTorch says."""
    if isinstance(value, (tuple, list)) and isinstance(example, (tuple, list)):
        return all(map(_is_like, value, example))
    if not isinstance(value, Value) or not isinstance(example, torch.Tensor):
        return True
    return value.shape == tuple(example.shape) and value.dtype is DTYPES[example.dtype]


def _source(node: Node) -> str:
    """Return file and line of the model that a node is from; nothing if PyTorch does not know."""
    found = re.findall(r'File "(.+)", line (\d+)', node.stack_trace or "")
    return ":".join(found[-1]) if found else ""


def _output(builder: Builder, node: Node | None, values: dict[Node, Any]) -> _Output | None:
    if node is None:
        return None
    view = [node]
    while view[0].op == "call_function" and LOWERINGS[view[0].target].is_view:
        source = view[0].args[0]
        assert isinstance(source, Node)
        view.insert(0, source)
    dtype = node.meta["val"].dtype
    if view[0].op == "placeholder":
        return _Output(None, tuple(view), dtype)
    return _Output(builder.output(values[node]), (), dtype)


def _finished(
    builder: Builder,
    sources: dict[Tensor, tuple[int, Value]],
    outputs: list[_Output | None],
    results: list[tuple[Node, Value]],
    placeholders: list[Node],
    target: Target,
) -> CompiledGraph:
    if not builder.graph.outputs:
        return CompiledGraph(None, [], outputs, placeholders, target)
    division = None
    chosen = chosen_settings(target)
    if chosen.nodes != (1, 1):
        inputs = {
            tensor: (placeholders[number], value)
            for tensor, (number, value) in sources.items()
            if number < len(placeholders)
        }
        division = target.parallelism.divided(builder.graph, chosen, inputs, results)
    if division is None:
        if chosen.precision == "cfp8":
            use_cfp8(builder)
        graph, packed = optimized(builder.graph)
        program = build(graph)
    else:
        graph, packed, program = division.graph, division.packed, division.build()
    programs.append(program)
    arguments = []
    for tensor in graph.inputs:
        operand = packed.get(tensor)
        rows = operand.ref.tensor if operand else tensor
        origin = division.origin(rows) if division else rows
        if origin in sources:
            arguments.append(_Argument(tensor, *sources[origin], operand))
    compiled = CompiledGraph(program, arguments, outputs, placeholders, target)
    if division is not None:
        compiled = MeshGraph(program, arguments, outputs, placeholders, target, division)
    for observer in observers:
        observer.compiled(compiled)
    return compiled
