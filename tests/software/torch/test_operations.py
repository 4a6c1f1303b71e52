"""Floating-point operations, counted on the node and in PyTorch."""

import warnings

import d1.torch
import pytest
import torch
from d1.torch.operations import HostOperations, operations
from torch import Tensor

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("target", "shapes", "result", "expected"),
    [
        (aten.mm.default, [(3, 5), (5, 7)], (3, 7), 2 * 3 * 5 * 7),
        (aten.addmm.default, [(7,), (3, 5), (5, 7)], (3, 7), 2 * 3 * 5 * 7),
        (aten.bmm.default, [(2, 3, 5), (2, 5, 7)], (2, 3, 7), 2 * 2 * 3 * 5 * 7),
        (aten.add.Tensor, [(3, 5), (5,)], (3, 5), 15),
        (aten.sum.default, [(3, 5)], (), 15),
        (aten.permute.default, [(3, 5)], (5, 3), 0),
    ],
)
def test_operations_of_an_operator(target, shapes, result, expected):
    arguments = tuple(torch.zeros(shape) for shape in shapes)
    assert operations(target, arguments, torch.zeros(result)) == expected


def test_what_pytorch_computes_is_told_from_what_the_node_does():
    def function(x: Tensor) -> Tensor:
        return torch.nextafter(x * 2, x) + 1

    options = {"device": "golden", "preset": "tiny"}
    run = torch.compile(function, backend="d1", options=options, dynamic=False)
    x = torch.ones(4, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(x)
    d1.torch.reset_statistics()
    with HostOperations() as host:
        result = run(x)
    assert torch.equal(result, function(x))
    assert (d1.torch.statistics().operations, host.count) == (2 * 24, 24)
