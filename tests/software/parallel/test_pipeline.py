"""Models in stages, one a node, through which micro-batches flow."""

from collections.abc import Callable, Iterator
from types import ModuleType

import d1.torch
import pytest
import torch
from d1.compiler.ir import Graph, Receive
from d1.torch import capture
from d1.torch.capture import CompiledGraph, MeshGraph
from torch import Tensor, nn
from torch.nn import functional as F

Compile = Callable[..., Callable[..., Tensor]]
Step = Callable[..., list[Tensor]]
Distance = Callable[[list[Tensor], list[Tensor]], float]


class Compiled(list[MeshGraph]):
    """Observes which graphs are compiled for many nodes."""

    def refused(self, operator: object, reason: str) -> None:
        raise AssertionError(f"{operator} should be compiled: {reason}")

    def compiled(self, graph: CompiledGraph) -> None:
        if isinstance(graph, MeshGraph):
            self.append(graph)

    def ran(self, graph: CompiledGraph, inputs: object) -> None:
        """Nothing is learnt from a run."""


@pytest.fixture
def graphs() -> Iterator[Compiled]:
    """Return the graphs that the test has compiled, in order."""
    observer = Compiled()
    capture.observers.append(observer)
    yield observer
    capture.observers.remove(observer)


def stages(graph: MeshGraph) -> tuple[Graph, ...]:
    assert graph.division.pipeline is not None
    return graph.division.pipeline.stages


def perceptron(
    layers: int = 3, width: int = 16, activation: type[nn.Module] = nn.GELU
) -> nn.Module:
    torch.manual_seed(2)
    parts = [part for _ in range(layers) for part in (nn.Linear(width, width), activation())]
    return nn.Sequential(*parts, nn.Linear(width, 3))


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(x), y)


BATCH = torch.randn(8, 16, generator=torch.Generator().manual_seed(3))
TARGETS = torch.tensor([0, 1, 2, -100, 1, 1, 0, 2])  # one that does not count


@pytest.fixture(scope="module")
def one_node(step: Step) -> list[Tensor]:
    return step(perceptron(), cross_entropy, (BATCH, TARGETS), (1, 1))


@pytest.mark.parametrize("device, micro_batches", [("golden", 4), ("rtl", 2), ("rtl", 1)])
def test_loss_and_gradients_of_a_pipeline_are_those_of_one_node_but_for_the_order_of_sums(
    device: str,
    micro_batches: int,
    one_node: list[Tensor],
    step: Step,
    distance: Distance,
    order: float,
) -> None:
    options = {"device": device, "parallel": "pipeline", "micro_batches": micro_batches}
    four = step(perceptron(), cross_entropy, (BATCH, TARGETS), (2, 2), check=True, **options)
    assert distance(four, one_node) < (order if micro_batches > 1 else 1e-30)
    statistics = d1.torch.statistics()
    assert statistics.mesh_cycles > 0 and statistics.differing_bits == 0
    assert (statistics.checked_outputs > 0) == (device == "rtl")


def test_each_sequence_has_the_bits_of_one_node_whatever_the_micro_batches(
    compiled: Compile,
) -> None:
    model = perceptron()
    with torch.no_grad():
        one = compiled(model, (1, 1))(BATCH)
        for micro_batches in (1, 2, 8):
            options = {"parallel": "pipeline", "micro_batches": micro_batches}
            assert torch.equal(compiled(model, (3, 1), **options)(BATCH), one)


def test_the_gradient_of_a_weight_is_made_where_the_weight_is_and_stages_do_without_the_host(
    step: Step, graphs: Compiled
) -> None:
    options = {"parallel": "pipeline", "micro_batches": 2}
    step(perceptron(), cross_entropy, (BATCH, TARGETS), (2, 2), **options)
    forward, backward = graphs
    homes = forward.target.parallelism.homes
    division = backward.division
    assert division.pipeline is not None
    nodes = []
    for argument, gradient in zip(forward.placeholders, backward.outputs, strict=True):
        if gradient is not None:  # it is of a weight
            assert gradient.value is not None
            part, _ = division.levels[0].partition.outputs[gradient.value.ref.tensor]
            ((stage, _),) = division.pipeline.outputs[part]
            nodes.append(division.path[stage])
            assert nodes[-1] == homes[argument.name]
    assert len(nodes) == 8 and len(set(nodes)) >= 3
    for graph in graphs:
        first, *others = stages(graph)
        assert not any(isinstance(kernel, Receive) for kernel in first.kernels)
        for stage in others:
            assert any(isinstance(kernel, Receive) for kernel in stage.kernels)
        assert len(graph.program.parts) == len(stages(graph))


def test_what_needs_sums_over_the_batch_follows_in_another_wave(
    compiled: Compile, distance: Distance, order: float, graphs: Compiled
) -> None:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(4))

    def normed(x: Tensor) -> Tensor:
        x = (x - x.mean(0)) / (x.amax(0) - x.amin(0))
        return (x * x).sum(1) * torch.arange(8)

    options = {"parallel": "pipeline", "micro_batches": 4}
    assert distance([compiled(normed, (2, 1), **options)(x)], [normed(x)]) < order
    assert len(stages(graphs[0])) == 2


def test_dropout_and_norms_of_a_batch_are_those_of_one_node(
    step: Step, distance: Distance, order: float
) -> None:
    torch.manual_seed(5)
    first = nn.Linear(16, 16, bias=False)  # behind a norm a bias would have no gradient
    model = nn.Sequential(first, nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 3))
    results = []
    for options in ({}, {"parallel": "pipeline", "micro_batches": 4}):
        torch.manual_seed(7)
        nodes = (2, 2) if options else (1, 1)
        results.append(step(model, cross_entropy, (BATCH, TARGETS), nodes, **options))
    assert distance(results[1], results[0]) < order
    assert d1.torch.statistics().mesh_cycles > 0


def test_blocks_of_a_gpt_are_stages(
    step: Step,
    distance: Distance,
    order: float,
    capsys: pytest.CaptureFixture[str],
    gpt_that_sorts: ModuleType,
) -> None:
    gpt_that_sorts.WIDTH, gpt_that_sorts.HEADS, gpt_that_sorts.LAYERS = 8, 2, 2
    torch.manual_seed(1)
    model = gpt_that_sorts.Sorter()
    tokens = gpt_that_sorts.sequences(4, torch.Generator().manual_seed(1))

    def loss(model: nn.Module, tokens: Tensor) -> Tensor:
        return model(tokens)

    one = step(model, loss, (tokens,), (1, 1))
    options = {"device": "rtl", "parallel": "pipeline", "check": True}
    four = step(model, loss, (tokens,), (2, 2), **options)
    assert distance(four, one) < order
    statistics = d1.torch.statistics()
    assert statistics.checked_outputs > 0 == statistics.differing_bits
    told = capsys.readouterr().err
    assert told.count("pipeline of 1 micro-batch: about") == 2
    assert "chosen: pipeline of 4 micro-batches" in told


def test_a_batch_that_micro_batches_do_not_divide_runs_on_one_node_and_says_why(
    compiled: Compile,
) -> None:
    x = torch.randn(6, 6)
    options = {"parallel": "pipeline", "micro_batches": 4}
    with pytest.warns(UserWarning, match="one node: dimension 0 .* no multiple of 4"):
        result = compiled(lambda x: x * 2, (2, 1), **options)(x)
    assert torch.equal(result, x * 2)
    with pytest.raises(ValueError, match="micro_batches must be 0 or more, not -1"):
        d1.torch.configure(micro_batches=-1)


def test_what_no_micro_batch_can_be_computed_of_flows_in_one(
    compiled: Compile, graphs: Compiled, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.randn(4, 6)

    def steps(x: Tensor) -> Tensor:
        differences = x[1:] - x[:-1]
        return torch.softmax(differences.T @ differences, 1) @ x.T

    result = compiled(steps, (2, 1), parallel="pipeline")(x)
    assert (result - compiled(steps, (1, 1))(x)).abs().max() == 0
    assert graphs[0].division.parts == 1 and len(stages(graphs[0])) == 2
    told = capsys.readouterr().err
    assert "pipeline of 2 micro-batches: not possible, no dimension divides" in told
    assert "chosen: pipeline of 1 micro-batch" in told


def test_a_stage_that_does_not_fit_in_a_node_is_refused(compiled: Compile) -> None:
    model, x = nn.Linear(256, 128), torch.randn(2, 256)
    with pytest.warns(UserWarning, match="one node: a stage needs about .* bytes of a node"):
        result = compiled(model, (2, 1), parallel="pipeline")(x)
    assert torch.equal(result, compiled(model, (1, 1))(x))


def test_what_a_pipeline_should_take_is_near_what_it_takes(
    compiled: Compile, graphs: Compiled
) -> None:
    for micro_batches in (1, 4):
        d1.torch.reset_statistics()
        options = {"device": "rtl", "parallel": "pipeline", "micro_batches": micro_batches}
        with torch.no_grad():
            compiled(perceptron(4, 32, nn.ReLU), (2, 2), **options)(torch.randn(32, 32))
        predicted = graphs[-1].division.estimate.total
        assert d1.torch.statistics().mesh_cycles == pytest.approx(predicted, rel=0.1)
