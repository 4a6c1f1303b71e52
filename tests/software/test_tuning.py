"""The figures by which schedules are chosen are those of the RTL."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from d1.compiler import choice
from d1.compiler.choice import choose_schedule, product_key
from d1.device import open_device
from d1.tuning import PRODUCTS, measure, measure_product, shape, tried, write_figures

KEPT: dict[str, list[dict[str, Any]]] = json.loads(choice.MEASURED.read_text())


def test_the_products_in_the_repository_are_those_that_are_measured():
    assert list(KEPT) == [product_key(*shape(product)) for product in PRODUCTS.values()]


@pytest.mark.parametrize("name", PRODUCTS)
def test_every_schedule_takes_the_cycles_that_the_repository_says(name: str):
    """After a change of the RTL that takes other times: `make tune`."""
    product = PRODUCTS[name]
    with open_device("rtl", product.params.name) as device:
        measured = measure_product(device, product)
    assert json.loads(json.dumps(measured)) == KEPT[product_key(*shape(product))]


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_schedule_that_is_chosen_takes_no_more_cycles_than_any_other(name: str):
    product = PRODUCTS[name]
    schedule, swapped = choose_schedule(*shape(product))
    figures = KEPT[product_key(*shape(product))]
    cycles = {
        choice.Choice(**f["choice"] | {"leads": tuple(f["choice"]["leads"])}): f["cycles"]
        for f in figures
    }
    (chosen,) = (c for c in cycles if c.schedule(*shape(product)) == schedule)
    assert not swapped
    assert cycles[chosen] == min(cycles.values())
    assert len(cycles) == len(figures) > 1


def test_a_schedule_takes_the_same_cycles_whatever_ran_before():
    product = PRODUCTS["bf16 64"]
    first, second, *_ = (c.schedule(*shape(product)) for c in tried(product))
    with open_device("golden", product.params.name) as device:
        alone = measure(device, first)
        measure(device, second)
        assert measure(device, first) == alone
    assert alone["matrix_steps"] == 1024


def test_blocks_are_tried_on_all_threads_and_half_with_and_without_leads():
    choices = list(tried(PRODUCTS["cfp8 64"]))
    assert {c.threads for c in choices} == {4, 2}
    assert {bool(any(c.leads)) for c in choices} == {True, False}
    assert len(set(choices)) == len(choices)


def test_figures_are_written_a_line_each_and_read_back(tmp_path: Path):
    product = PRODUCTS["fp32 128"]
    figures = [{"choice": asdict(c), "cycles": n} for n, c in enumerate(tried(product))]
    path = tmp_path / "figures.json"
    write_figures([(product, figures)], path)
    assert json.loads(path.read_text()) == json.loads(
        json.dumps({product_key(*shape(product)): figures})
    )
    assert len(path.read_text().splitlines()) == len(figures) + 4
