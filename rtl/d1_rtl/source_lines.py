"""RTLIL that says which lines of Python each branch comes from, for coverage builds.

Amaranth's own `src` attributes name a signal's declaration and the first assignment of a process.
What a coverage report needs is where the assignments of each branch are written, so here every
case has an attribute `lines` with those of its own assignments, and every multiplexer one with the
line of its `Mux`. Yosys carries them into the Verilog, in front of the case and in the expression.
Resets of registers have none: nobody has written them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amaranth.back import rtlil  # type: ignore[attr-defined]
from amaranth.hdl import Fragment, _ast, _dsl, _ir, _nir
from amaranth.lib import data, enum

__all__ = ["ATTRIBUTE", "assignments_where_written", "convert_fragment"]

#: Name of the attribute: places `FILE:LINE`, joined by `|`.
ATTRIBUTE = "lines"
_PACKAGE = Path(__file__).parent


@contextmanager
def assignments_where_written() -> Iterator[None]:
    """Let assignments that are made meanwhile, when components are elaborated, say where.

    Those to structs and enumerations, and `m.next`, would otherwise have the line of Amaranth in
    which the assignment to the value behind them is made.
    """
    next_statement: Any = _dsl.FSMNextStatement  # type: ignore[attr-defined]
    resolve = next_statement.resolve

    def eq(view: Any, other: Any) -> Any:
        return view.as_value().eq(other, src_loc_at=1)

    def resolve_next(statement: Any) -> Any:
        assignment = resolve(statement)
        assignment.src_loc = statement.src_loc
        return assignment

    patches: list[tuple[Any, str, Any]] = [
        (data.View, "eq", eq),
        (enum.EnumView, "eq", eq),
        (next_statement, "resolve", resolve_next),
    ]
    before = [getattr(owner, name) for owner, name, _ in patches]
    try:
        for owner, name, replacement in patches:
            setattr(owner, name, replacement)
        yield
    finally:
        for (owner, name, _), original in zip(patches, before, strict=True):
            setattr(owner, name, original)


def convert_fragment(fragment: Fragment, ports: Any, name: str) -> str:
    """Return what `amaranth.back.rtlil.convert_fragment` does, with attributes `lines`.

    A file of `d1_rtl` is named from there on, `d1_rtl/node/alu.py`, others by their whole path.
    """
    resets = set(_resets(fragment))
    netlist = _ir.build_netlist(fragment, ports=ports, name=name)
    empty = rtlil.EmptyModuleChecker(netlist)
    design, names = rtlil.Design(emit_src=False), _ast.SignalDict()
    for index, module in enumerate(netlist.modules):
        if not empty.is_empty(index):
            path = ".".join(module.name)
            design.modules[path] = builder = _Module(path, emit_src=False)
            emitter = _Emitter(builder, netlist, module, names, empty_checker=empty)
            emitter.resets = resets
            emitter.emit()
    return str(design)


def _resets(fragment: Any) -> Iterator[tuple[str, int]]:
    """Yield where the resets of the domains are declared."""
    for domain in fragment.domains.values():
        if domain.rst is not None:
            yield domain.rst.src_loc
    for child, _name, _location in fragment.subfragments:
        yield from _resets(child)


def _place(location: tuple[str, int] | None) -> str:
    if location is None:
        return ""
    file, line = Path(location[0]), location[1]
    if file.is_relative_to(_PACKAGE):
        file = file.relative_to(_PACKAGE.parent)
    return f"{file.as_posix()}:{line}"


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's emitter, which hands the places of assignments to the bodies they go to.

    The stubs do not know what the netlist is made of.
    """

    resets: set[tuple[str, int]]

    def emit_assignment_list(self, cell_idx: int, cell: Any) -> None:
        self.builder.places = map(self._written_at, cell.assignments)
        super().emit_assignment_list(cell_idx, cell)

    def _written_at(self, assignment: Any) -> str:
        if assignment.cond != _nir.Net.from_const(1):
            if self.netlist.cells[assignment.cond.cell].src_loc in self.resets:
                return ""
        return _place(assignment.src_loc)


class _Module(rtlil.Module):
    """A module whose cases and multiplexers have the attribute."""

    #: Of the assignments that the next process will get, in order, its default left out.
    places: Iterator[str]

    def process(self, *, name: str | None = None, **_options: Any) -> "_Process":
        name = self._name(name)
        self.contents[name] = process = _Process(self.places, name=name)
        return process

    def cell(self, kind: str, name: str | None = None, **options: Any) -> Any:
        place = _place(options.get("src_loc"))
        cell = super().cell(kind, name, **options)
        if kind == "$mux" and place:
            cell.attribute(ATTRIBUTE, place)
        return cell


class _Body:
    """What a process and a case have in common: assignments and switches."""

    contents: list[Any]

    def __init__(self, places: Iterator[str], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.places = places

    def switch(self, sel: str) -> "_Switch":
        self.contents.append(switch := _Switch(self.places, sel))
        return switch


class _Process(_Body, rtlil.Process):
    def assign(self, lhs: str, rhs: str) -> None:
        if self.contents:  # the default comes first, and is none of the assignments
            next(self.places)
        super().assign(lhs, rhs)


class _Case(_Body, rtlil.Case):
    def __init__(self, places: Iterator[str], patterns: Iterable[str]) -> None:
        super().__init__(places, patterns)
        self.lines: dict[str, None] = {}

    def assign(self, lhs: str, rhs: str) -> None:
        if place := next(self.places):
            self.lines[place] = None
        super().assign(lhs, rhs)

    def emit(self, line: Any) -> None:
        if self.lines:
            line(f'attribute \\{ATTRIBUTE} "{"|".join(self.lines)}"')
        super().emit(line)


class _Switch(rtlil.Switch):
    """A switch with one more bit, 0, that no case looks at.

    Without it Yosys would write a switch of one bit as `if`, which has no place for attributes.
    """

    def __init__(self, places: Iterator[str], sel: str) -> None:
        super().__init__(f"{{ {sel} 1'0 }}")
        self._places = places

    def case(self, patterns: Iterable[str]) -> _Case:
        case = _Case(self._places, [f"{pattern}-" for pattern in patterns])
        if case.patterns:  # RTLIL takes an empty list for a default, so such a case is left out
            self.cases.append(case)
        return case

    def default(self) -> _Case:
        self.cases.append(case := _Case(self._places, ()))
        return case
