"""Which part of a tensor a part of a domain walks through."""

import pytest
from d1.compiler.expressions import Expr, Ref
from d1.compiler.ir import DType, Tensor
from d1.parallel.gathered_places import moves_with
from d1.parallel.placement import Split, local_ref, walked


def tensor(*shape: int) -> Tensor:
    return Tensor("t", shape, DType.F32, 4)


@pytest.mark.parametrize(
    "what, shape, offset, strides, domain, j, expected",
    [
        ("rows", (8, 3), 0, (4, 1), (8, 3), 0, Split(0)),
        ("columns", (8, 4), 0, (4, 1), (8, 4), 1, Split(1)),
        ("transposed", (8, 3), 0, (1, 4), (3, 8), 1, Split(0)),
        ("rows from some column on", (8, 6), 2, (8, 1), (8, 4), 0, Split(0)),
        ("two dimensions as one", (4, 2, 3), 0, (4, 1), (8, 3), 0, Split(0)),
        ("heads within rows", (2, 8), 0, (8, 4, 1), (2, 2, 4), 1, Split(1)),
        ("some of the rows", (8, 3), 0, (4, 1), (4, 3), 0, None),
        ("the same for all rows", (8, 3), 0, (0, 1), (8, 3), 0, None),
        ("rows that reach into the next part", (8, 4), 2, (4, 1), (8, 4), 0, None),
    ],
)
def test_a_dimension_that_walks_through_a_tensor_splits_it(
    what: str,
    shape: tuple[int, ...],
    offset: int,
    strides: tuple[int, ...],
    domain: tuple[int, ...],
    j: int,
    expected: Split | None,
) -> None:
    assert walked(Ref(tensor(*shape), offset, strides), domain, j, 2) == expected, what


def test_a_place_in_a_part_has_the_pitch_of_the_part() -> None:
    whole, part = tensor(6, 12), tensor(6, 6)
    ref = local_ref(Ref(whole, 3 * 12 + 2, (12, 1)), part, Split(1))
    assert ref == Ref(part, 3 * 8 + 2, (8, 1))


def test_a_row_that_another_number_chooses_moves_with_its_part_and_a_transposed_one_does_not() -> (
    None
):
    row = Expr.op("vmul.i32", Expr.index(0), Expr.word(4))
    chosen = Expr.op("vminu.i32", Expr.load(Ref(tensor(8), 0, (1,))), Expr.word(2))
    place = Expr.op("vadd.i32", row, chosen)
    assert moves_with(place, (8,), 0, 2, block=16)
    assert not moves_with(chosen, (8,), 0, 2, block=16)
    assert not moves_with(Expr.op("vmul.i32", place, Expr.word(2)), (8,), 0, 2, block=16)
