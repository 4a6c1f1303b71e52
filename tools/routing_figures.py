"""Route many dies with random dead routers; write docs/routing_figures.json and the page's picture.

All tables pass the check of `routing_tables` or this ends with an error: every live router reaches
every live place and door, and channels depend on each other without a circle.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from d1.fabric.channel_dependencies import Channels
from d1.fabric.route_choice import intact_load
from d1.fabric.routing_tables import RoutingTables, check_connected, routing_tables
from d1_golden.fabric.mesh import MeshModel, saturation
from d1_golden.fabric.ports import SIDES, Port
from d1_golden.fabric.traffic import Pattern
from d1_golden.params import DIES, DieParams
from numpy.typing import NDArray

DOCS = Path(__file__).parents[1] / "docs"
FIGURES = DOCS / "routing_figures.json"
PICTURE = DOCS / "routing_detour.svg"
MOST_DEAD = 6
#: Pixels from one router to the next in the picture.
_PITCH = 56


def random_die(rng: np.random.Generator, dead: int) -> DieParams:
    """Return the die with some dead routers, drawn until the live ones are connected."""
    die = DIES["d1"]
    while True:
        chosen = rng.choice(len(die.places), size=dead, replace=False)
        candidate = replace(die, dead_routers=tuple(die.places[index] for index in chosen))
        try:
            check_connected(candidate)
        except ValueError:
            continue
        return candidate


def shapes() -> Iterator[DieParams]:
    """Yield the die with dead walls with a gap, corners, and parts of its edges."""
    die = DIES["d1"]
    columns, rows = range(1, die.columns + 1), range(1, die.rows + 1)
    for gap in (1, 5, 10, 20):
        yield replace(die, dead_routers=tuple((9, row) for row in rows if row != gap))
        yield replace(die, dead_routers=tuple((c, 10) for c in columns if c != min(gap, 18)))
    yield replace(die, dead_routers=((1, 1), (18, 1), (1, 20), (18, 20)))
    for length in (2, 6):
        for start in (1, 7):
            part = range(start, start + length)
            yield replace(die, dead_routers=tuple((c, 1) for c in part))
            yield replace(die, dead_routers=tuple((c, 20) for c in part))
            yield replace(die, dead_routers=tuple((1, r) for r in part))
            yield replace(die, dead_routers=tuple((18, r) for r in part))
            yield replace(die, dead_routers=tuple((c, 10) for c in part))
            yield replace(die, dead_routers=tuple((9, r) for r in part))
    yield replace(die, dead_routers=tuple((c, 1) for c in columns))


def hops(tables: RoutingTables) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the hops of all routes between live routers, and of the shortest there are."""
    channels = Channels.of(tables.die)
    shortest = np.stack([channels.levels(int(router)) for router in channels.routers])
    count = len(channels.live)
    rows, columns = slice(1, tables.die.rows + 1), slice(1, tables.die.columns + 1)
    entries = tables.routes[:, :, rows, columns].reshape(count, count)
    steps = np.concatenate([channels.ends, np.arange(count)[:, None]], axis=1)
    sides = np.where(entries == Port.LOCAL + 1, len(SIDES), entries.astype(int) - 2)
    start, to = np.meshgrid(channels.routers, channels.routers)
    at, taken = start, np.zeros(start.shape, np.int64)
    while (at != to).any():
        taken += at != to
        at = steps[at, sides[at, to]]
    return taken, shortest[:, channels.routers]


def uniform_saturation(die: DieParams, tables: RoutingTables | None) -> float:
    """Return the packets per live node and cycle that the golden mesh accepts."""
    entries = None
    if tables is not None:
        entries = tables.entries.reshape(-1, *tables.entries.shape[2:])
    model = MeshModel(die.columns, die.rows, entries=entries, dead=die.dead_routers)
    return saturation(model, Pattern.UNIFORM).accepted


def measure(sets: int, saturations: int, seed: int) -> dict[str, float]:
    """Route random dies and shapes; return the figures."""
    rng = np.random.default_rng(seed)
    intact = uniform_saturation(DIES["d1"], None)
    routing_tables(random_die(rng, 1))  # compiles
    seconds, loads, accepted, direct, longest = [], [], [], [], []
    unusual = 0
    for index in range(sets):
        # The first have the most dead routers, and their saturation is measured.
        dead = MOST_DEAD if index < saturations else int(rng.integers(1, MOST_DEAD + 1))
        die = random_die(rng, dead)
        start = time.process_time()
        tables = routing_tables(die)
        seconds.append(time.process_time() - start)
        loads.append(tables.greatest_load / intact_load(die))
        taken, shortest = hops(tables)
        direct.append(float((taken == shortest).mean()))
        longest.append(float((taken - shortest).max()))
        if index < saturations:
            accepted.append(uniform_saturation(die, tables) / intact)
        if index % 10 == 9:
            print(
                f"{index + 1} sets: {np.median(seconds):.2f} s, at most {max(seconds):.2f} s; "
                f"load {np.median(loads):.2f}, at most {max(loads):.2f}; saturation "
                f"{np.median(accepted):.3f} of the intact mesh",
                flush=True,
            )
    for die in shapes():
        start = time.process_time()
        routing_tables(die)
        seconds.append(time.process_time() - start)
        unusual += 1
    return {
        "seed": seed,
        "sets": sets,
        "shapes": unusual,
        "seconds_median": round(float(np.median(seconds)), 2),
        "seconds_most": round(max(seconds), 2),
        "load_median": round(float(np.median(loads)), 2),
        "load_most": round(max(loads), 2),
        "shortest_share_median": round(float(np.median(direct)), 4),
        "detour_most": int(max(longest)),
        "saturation_sets": saturations,
        "saturation_intact": round(intact, 4),
        "saturation_median": round(float(np.median(accepted)), 3),
        "saturation_least": round(min(accepted), 3),
    }


def picture() -> str:
    """Return the picture of the routes to two places beside a dead router, as SVG."""
    die = DieParams(
        name="picture", node=DIES["tiny"].node, columns=7, rows=5, dead_routers=((4, 3),)
    )
    tables = routing_tables(die)

    def at(column: float, row: float) -> tuple[float, float]:
        return column * _PITCH, row * _PITCH

    parts = []
    for colour, shift, to in (("#c0392b", -5, (4, 5)), ("#1f6fb2", 5, (2, 3))):
        for place in die.live_routers:
            if place == to:
                continue
            x, y = at(*place)
            end_x, end_y = at(*tables.path(place, to)[1])
            parts.append(
                f'<line x1="{x + shift}" y1="{y + shift}" x2="{x + shift + 0.62 * (end_x - x):g}" '
                f'y2="{y + shift + 0.62 * (end_y - y):g}" stroke="{colour}" stroke-width="2.5" '
                f'marker-end="url(#{colour[1:]})"/>'
            )
        x, y = at(*to)
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="15" fill="none" stroke="{colour}" stroke-width="3"/>'
        )
    for place in die.places:
        x, y = at(*place)
        dead = place in die.dead_routers
        parts.append(
            f'<rect x="{x - 9}" y="{y - 9}" width="18" height="18" rx="3" '
            f'fill="{"#222" if dead else "none"}" stroke="#888"/>'
        )
    markers = "".join(
        f'<marker id="{colour}" viewBox="0 0 6 6" refX="4" refY="3" markerWidth="4" '
        f'markerHeight="4" orient="auto"><path d="M0 0L6 3L0 6z" fill="#{colour}"/></marker>'
        for colour in ("c0392b", "1f6fb2")
    )
    width, height = at(die.columns + 1, die.rows + 1)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n<defs>{markers}</defs>\n'
        f"{body}\n</svg>\n"
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000, help="random sets of dead routers")
    parser.add_argument("--saturations", type=int, default=40, help="of how many it is measured")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", action="store_true", help="write the picture only")
    options = parser.parse_args()
    PICTURE.write_text(picture())
    if not options.picture:
        figures = measure(options.sets, options.saturations, options.seed)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
        print(FIGURES.read_text())


if __name__ == "__main__":
    main()
