from dataclasses import FrozenInstanceError, replace

import pytest
from d1_golden.params import LINE_BYTES, PRESETS, NodeParams, preset

GOOD = PRESETS["tiny"]


def test_the_d1_preset_is_the_machine() -> None:
    params = preset("d1")
    assert (params.matrix_rows, params.matrix_cols, params.matrix_depth) == (8, 8, 4)
    assert params.macs_per_step == 256
    assert params.vector_bytes == 64
    assert params.sram_bytes == 1_310_720  # 1.25 MiB
    assert params.accumulators >= 8
    assert (params.threads, params.scalar_slots) == (4, 4)


@pytest.mark.parametrize("name", PRESETS)
def test_shapes_of_a_preset_follow_from_the_matrix_unit(name: str) -> None:
    params = preset(name)
    assert params.name == name
    assert params.vector_bytes == params.matrix_rows * params.matrix_depth * 2
    assert params.fp32_lanes * 4 == params.vector_bytes
    assert params.accumulator_parts * params.vector_bytes == params.accumulator_bytes
    assert params.accumulator_bytes == 4 * params.matrix_rows * params.matrix_cols
    assert params.bank_lines * params.sram_banks * LINE_BYTES == params.sram_bytes
    assert LINE_BYTES % params.vector_bytes == 0


def test_an_unknown_preset_is_refused_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="preset must be one of d1, fpga, tiny, not 'd2'"):
        preset("d2")


def test_parameters_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        GOOD.matrix_rows = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix_rows": 3, "matrix_cols": 3}, "matrix_rows must be 2, 4 or 8, not 3"),
        ({"matrix_cols": 4}, r"matrix_cols must equal matrix_rows \(2\), not 4"),
        ({"matrix_depth": 8}, "matrix_depth must be 4, not 8"),
        ({"accumulators": 7}, r"accumulators must be in 8\.\.16, not 7"),
        ({"accumulators": 17}, r"accumulators must be in 8\.\.16, not 17"),
        ({"threads": 5}, r"threads must be in 1\.\.4, not 5"),
        ({"threads": 0}, "threads must be a positive integer, not 0"),
        ({"scalar_slots": 3}, "scalar_slots must be 2 or 4, not 3"),
        ({"instruction_lines": 12}, "instruction_lines must be a power of two .* 4, not 12"),
        ({"branch_targets": 2}, "branch_targets must be a power of two of at least 4, not 2"),
        ({"semaphores": 16}, "semaphores must be 32, not 16"),
        ({"sram_banks": 3}, "sram_banks must be a power of two of at least 2, not 3"),
        ({"sram_banks": 1}, "sram_banks must be a power of two of at least 2, not 1"),
        ({"sram_bytes": 64 * 1024 + 64}, "sram_bytes must be a multiple of 512 .* not 65600"),
        ({"sram_bytes": 1 << 24}, "and at most 8388608, not 16777216"),
        ({"dot_fraction_bits": 27}, r"dot_fraction_bits must be in 16\.\.26, not 27"),
        ({"dot_fraction_bits": 15}, r"dot_fraction_bits must be in 16\.\.26, not 15"),
        ({"sram_bytes": 1e6}, "sram_bytes must be a positive integer, not 1000000.0"),
    ],
)
def test_a_parameter_out_of_range_is_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(GOOD, **change)


def test_parameters_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        NodeParams("x", 2, 2)  # type: ignore[misc]
