import numpy as np
import pytest
from d1 import SramOverflowError
from d1.compiler.tiling import Product, choose_tiling
from d1_golden.numerics import BF16, FP32, Cfp8Config, Cfp8Format
from d1_golden.params import PRESETS

CFP8 = (Cfp8Config(Cfp8Format.CFP8_1_4_3, 7),) * 2


def product(**sizes) -> Product:
    return Product(params=PRESETS["tiny"], **{"batch": 1, "m": 8, "n": 8, "k": 8} | sizes)


@pytest.mark.parametrize("formats", [BF16, CFP8, FP32])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"m": 300, "n": 200, "k": 20},
        {"m": 3, "n": 5, "k": 20_001},
        {"m": 70, "n": 90, "k": 1003},
        {"batch": 50, "m": 20, "n": 30, "k": 7},
    ],
)
def test_pieces_cover_every_product_term_once_and_fit(sizes, formats):
    whole = product(**sizes, formats=formats)
    capacity = 40_000
    terms = np.zeros((whole.batch, whole.m, whole.n), int)
    finished = np.zeros_like(terms)
    for piece in choose_tiling(whole, capacity).pieces():
        assert piece.schedule.data_bytes <= capacity
        part = (piece.batch, piece.rows, piece.columns)
        # The terms of k come in order, and a sum is continued exactly where there is one.
        assert (terms[part] == piece.k.start).all()
        assert piece.schedule.accumulate == (piece.k.start > 0)
        terms[part] += piece.k.stop - piece.k.start
        finished[part] += piece.last
    assert (terms == whole.k).all()
    assert (finished == 1).all()


def test_cuts_of_k_are_between_whole_vectors():
    whole = product(m=3, n=5, k=20_001, formats=CFP8)
    starts = [piece.k.start for piece in choose_tiling(whole, 20_000).pieces()]
    assert len(starts) > 1
    assert not any(start % 8 for start in starts)


def test_a_product_that_fits_is_not_cut():
    assert len(list(choose_tiling(product(m=32, n=32, k=64), 40_000).pieces())) == 1


def test_small_products_of_a_batch_share_a_call():
    assert len(list(choose_tiling(product(batch=30), 40_000).pieces())) == 1


def test_no_room_for_a_single_step_is_an_overflow_that_says_how_much_is_needed():
    with pytest.raises(
        SramOverflowError,
        match=r"must fit in the 64 bytes free for data \(SRAM: 65536 bytes\), not need 632 bytes",
    ):
        choose_tiling(product(m=100), 64)
