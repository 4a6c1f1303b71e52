import pytest
from d1 import SramOverflowError
from d1.sram import SramRegion


def region() -> SramRegion:
    return SramRegion("data", base=0x400, size=1024, sram_bytes=4096)


def test_allocations_are_whole_lines_one_after_the_other():
    data = region()
    assert [data.allocate(1), data.allocate(64), data.allocate(65)] == [0x400, 0x440, 0x480]
    assert data.free == 1024 - 256


def test_overflow_names_what_was_asked_what_is_free_and_the_sram():
    data = region()
    data.allocate(512)
    with pytest.raises(
        SramOverflowError,
        match=r"data must fit in the 512 bytes free of 1024 \(SRAM: 4096 bytes\), not 513 bytes",
    ):
        data.allocate(513)
    assert data.free == 512


def test_scratch_is_given_back_with_everything_allocated_inside_even_after_an_error():
    data = region()
    data.allocate(64)
    with pytest.raises(RuntimeError, match="inside"), data.scratch(128) as address:
        assert address == 0x440
        data.allocate(64)
        raise RuntimeError("inside")
    assert data.free == 960


def test_a_cleared_region_is_free_again():
    data = region()
    data.allocate(1024)
    data.clear()
    assert data.free == 1024


def test_a_base_inside_a_line_is_refused():
    with pytest.raises(ValueError, match="base must be a multiple of 64, not 8"):
        SramRegion("data", base=8, size=64, sram_bytes=4096)


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="size must not be negative, not -1"):
        region().allocate(-1)
