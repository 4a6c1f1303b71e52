"""Sums over nodes in the middle of a program."""

from itertools import pairwise

import numpy as np
import pytest
from d1.compiler.executable import build
from d1.compiler.ir import AllReduce, DType, Graph, Tensor
from d1.parallel.all_reduce import inbox_tensor
from d1.parallel.buckets import bucketed
from d1.parallel.mesh_program import run_on_mesh
from d1.parallel.shared_group import shared_group
from d1_golden.params import preset

SHAPES = [(1,), (3, 5), (9, 33)]


def sums(nodes: tuple[int, int]) -> Graph:
    """Return a graph with a sum for each tensor of some sizes."""
    params = preset("tiny")
    graph = Graph(params)
    for n, shape in enumerate(SHAPES):
        source = Tensor(f"a{n}", shape, DType.F32, params.fp32_lanes)
        result = Tensor(f"b{n}", shape, DType.F32, params.fp32_lanes)
        inbox = inbox_tensor(params, [source], nodes, f"inbox{n}")
        graph.inputs.append(source)
        graph.outputs.append(result)
        graph.kernels.append(AllReduce((source,), (result,), inbox, "vfadd.f32", nodes))
    return graph


@pytest.mark.parametrize("device, nodes", [("golden", (3, 2)), ("rtl", (2, 2))])
def test_sums_have_the_bits_of_the_collective_in_every_node(
    device: str, nodes: tuple[int, int]
) -> None:
    graph = sums(nodes)
    group = shared_group(device, "tiny", nodes)
    rng = np.random.default_rng(5)
    inputs = {
        tensor: [rng.standard_normal(tensor.words, np.float32) for _ in group.members]
        for tensor in graph.inputs
    }
    words = {tensor: [x.view(np.uint32) for x in values] for tensor, values in inputs.items()}
    outputs = run_on_mesh(build(graph), group, words).outputs
    mesh = group.mesh
    for source, result in zip(graph.inputs, graph.outputs, strict=True):
        size = -(-source.bytes // 64) * 64
        with mesh.data.scratch(size) as address:
            mesh.write(
                (mesh.nodes[place], address, own)
                for place, own in zip(group.members, inputs[source], strict=True)
            )
            group.all_reduce(address, size)
            (expected,) = mesh.read([(mesh.nodes[group.root], address, source.bytes)])
        for own in outputs[result]:
            assert np.array_equal(own, expected.view(np.uint32))


def test_sums_that_nobody_reads_share_one_barrier_up_to_the_size_of_a_bucket() -> None:
    graph = sums((2, 2))
    together = bucketed(graph)
    (kernel,) = together.kernels
    assert isinstance(kernel, AllReduce)
    assert kernel.sources == tuple(graph.inputs) and kernel.results == tuple(graph.outputs)
    assert len(bucketed(graph, bucket_bytes=64).kernels) == 2


def test_a_sum_that_is_read_stays_where_it_is() -> None:
    graph = sums((2, 2))
    kernel = graph.kernels[0]
    assert isinstance(kernel, AllReduce)
    again = inbox_tensor(graph.params, kernel.results, (2, 2), "again")
    last = Tensor("c", SHAPES[0], DType.F32, graph.params.fp32_lanes)
    graph.kernels.append(AllReduce(kernel.results, (last,), again, "vfadd.f32", (2, 2)))
    assert bucketed(graph).kernels[0] is kernel


@pytest.mark.parametrize("device, nodes", [("golden", (3, 2)), ("rtl", (2, 2))])
def test_nodes_may_sum_up_along_their_rows_and_their_columns_in_turn(
    device: str, nodes: tuple[int, int]
) -> None:
    params = preset("tiny")
    columns, rows = nodes
    tensors = [Tensor(f"t{n}", (9, 33), DType.F32, params.fp32_lanes) for n in range(7)]
    graph = Graph(params, [tensors[0]], [tensors[-1]])
    for n, (source, result) in enumerate(pairwise(tensors)):
        along = (columns, 1) if n % 2 == 0 else (1, rows)
        inbox = inbox_tensor(params, [source], along, f"inbox{n}")
        graph.kernels.append(AllReduce((source,), (result,), inbox, "vfadd.f32", along))
    group = shared_group(device, "tiny", nodes)
    rng = np.random.default_rng(6)
    # Whole numbers, so that no order of sums is another one.
    values = rng.integers(-9, 9, (rows, columns, tensors[0].words)).astype(np.float32)
    words = [value.view(np.uint32) for value in values.reshape(rows * columns, -1)]
    (outputs,) = run_on_mesh(build(graph), group, {tensors[0]: words}).outputs.values()
    expected = values.sum((0, 1)) * (rows * columns) ** 2
    for own in outputs:
        assert np.array_equal(own.view(np.float32), expected)
