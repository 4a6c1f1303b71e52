"""The figures and the picture of docs/routing.md."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from d1.fabric.routing_tables import routing_tables
from d1_golden.params import DIES, DieParams

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def routing_figures() -> ModuleType:
    """Return the script that measures, as a module."""
    path = ROOT / "tools" / "routing_figures.py"
    spec = importlib.util.spec_from_file_location("routing_figures", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_the_tables(routing_figures: ModuleType) -> None:
    assert routing_figures.PICTURE.read_text() == routing_figures.picture(), "run `make routing`"


def test_the_figures_meet_their_bars(routing_figures: ModuleType) -> None:
    figures = json.loads(routing_figures.FIGURES.read_text())
    assert figures["sets"] >= 1000
    assert figures["seconds_most"] < 5
    assert figures["saturation_median"] >= 0.75


def test_hops_are_those_of_the_paths(routing_figures: ModuleType) -> None:
    die = DieParams(
        name="test", node=DIES["tiny"].node, columns=5, rows=4, dead_routers=((3, 2), (1, 4))
    )
    tables = routing_tables(die)
    taken, shortest = routing_figures.hops(tables)
    live = die.live_routers
    expected = [[len(tables.path(start, to)) - 1 for start in live] for to in live]
    assert np.array_equal(taken, expected)
    assert (taken >= shortest).all()
    assert (shortest == shortest.T).all()
