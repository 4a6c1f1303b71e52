from dataclasses import FrozenInstanceError, replace

import pytest
from d1_golden.params import DIES, LINE_BYTES, PRESETS, DieParams, NodeParams, preset

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
        ({"issue_groups": 3}, "issue_groups must be 1 or 2, not 3"),
        ({"issue_width": 3}, "issue_width must be 2 or 4, not 3"),
        ({"scalar_slots": 3}, "scalar_slots must be 2 or 4, not 3"),
        ({"instruction_lines": 12}, "instruction_lines must be a power of two .* 4, not 12"),
        ({"branch_targets": 2}, "branch_targets must be a power of two of at least 4, not 2"),
        ({"semaphores": 16}, "semaphores must be 32, not 16"),
        ({"sram_banks": 3}, "sram_banks must be a power of two, not 3"),
        ({"sram_banks": 6}, "sram_banks must be a power of two, not 6"),
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


def test_the_d1_die_has_354_live_nodes_in_a_grid_of_18_by_20() -> None:
    die = DIES["d1"]
    assert (die.columns, die.rows, len(die.places)) == (18, 20, 360)
    assert len(die.live_nodes) == 354
    assert die.live_routers == die.places
    assert die.node is PRESETS["d1"]


def test_a_dead_router_takes_its_node_with_it() -> None:
    die = replace(DIES["tiny"], dead_cores=((1, 1),), dead_routers=((2, 3), (2, 3)))
    assert die.dead_routers == ((2, 3),)
    assert (2, 3) not in die.live_routers and len(die.live_routers) == 8
    assert {(1, 1), (2, 3)}.isdisjoint(die.live_nodes) and len(die.live_nodes) == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": 0}, "columns must be in 1..30, not 0"),
        ({"rows": 31}, "rows must be in 1..30, not 31"),
        ({"dead_cores": ((0, 1),)}, r"dead_cores must be places of the 3 x 3 grid, not \(0, 1\)"),
        ({"dead_routers": ((1, 4),)}, r"dead_routers must be places of .* not \(1, 4\)"),
        ({"dead_cores": DIES["tiny"].places}, "dead_cores and dead_routers must leave a node"),
    ],
)
def test_a_die_out_of_range_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(DIES["tiny"], **changes)  # type: ignore[arg-type]


def test_the_dead_need_not_be_in_order() -> None:
    die = DieParams(
        name="x", node=GOOD, columns=2, rows=2, dead_cores=((2, 2), (1, 1)), dead_routers=()
    )
    assert die.dead_cores == ((1, 1), (2, 2))
