"""The rules of the repository that a machine can check."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "d1_golden": ROOT / "golden" / "d1_golden",
    "d1_rtl": ROOT / "rtl" / "d1_rtl",
    "d1": ROOT / "software" / "d1",
    "testbench": ROOT / "testbench",
}
#: What each package must not import. Models know nothing of hardware, hardware nothing of software.
FORBIDDEN = {
    "d1_golden": {"amaranth", "cocotb", "d1", "d1_rtl", "testbench", "torch"},
    "d1_rtl": {"d1", "testbench", "torch"},
    "d1": {"amaranth", "cocotb", "d1_rtl", "testbench"},
    "testbench": {"d1", "torch"},
}
#: Modules that may reach across all the same, and why.
EXCEPTIONS = {
    "d1/backends/rtl.py": "the one door to the simulated RTL",
    "d1/bench/simulation.py": "measures the simulator itself, native against cocotb",
    "d1/bench/node.py": "measures the SRAM by itself",
    "d1/bench/serdes.py": "measures a link by itself",
    "d1/cli.py": "`d1 info` shows the tools and caches, `d1 regression` starts the testbench",
}


def tracked_files() -> list[Path]:
    """Return the files that are in the repository, or would be with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for path in (ROOT / line for line in listed) if path.is_file()]


def texts() -> Iterator[tuple[str, str]]:
    for path in tracked_files():
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """Yield package, path and syntax tree of every Python file of the packages."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            yield package, path, ast.parse(path.read_text(), str(path))


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level names of all absolute imports, those inside functions included."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|mnt|Users)/\w")
    found = [(name, m[0]) for name, text in texts() for m in pattern.finditer(text)]
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    pattern = re.compile(r"//[\w.-]*(?:py[p]i|pythonhoste[d])\.\w|-index-ur[l]|--find-link[s]")
    found = [(name, m[0]) for name, text in texts() for m in pattern.finditer(text)]
    assert found == []


def test_no_file_is_larger_than_a_megabyte() -> None:
    assert [p.name for p in tracked_files() if p.stat().st_size > 1_000_000] == []


def test_the_lock_pins_everything_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    locked = pins()
    for requirement in map(Requirement, wanted):
        pinned = locked.get(canonicalize_name(requirement.name))
        assert pinned is not None, f"{requirement.name} is not in requirements.lock"
        assert requirement.specifier.contains(pinned, prereleases=True), requirement.name


def test_the_lock_is_sorted_and_names_exact_versions_without_build_variants() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    entries = [line for line in lines if not line.startswith("#")]
    names = [entry.partition("==")[0] for entry in entries]
    assert names == sorted(set(names))
    assert all(re.fullmatch(r"[a-z0-9-]+==\d[\w.]*", entry) for entry in entries)


def test_the_environment_is_the_one_of_the_lock() -> None:
    different = {
        name: version(name)
        for name, pinned in pins().items()
        if version(name).partition("+")[0] != pinned
    }
    assert different == {}


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_run_one_way(package: str) -> None:
    broken = [
        (str(path.relative_to(ROOT)), sorted(crossing))
        for owner, path, tree in modules()
        if owner == package
        and f"{package}/{path.relative_to(PACKAGES[package])}" not in EXCEPTIONS
        and (crossing := imported(tree) & FORBIDDEN[package])
    ]
    assert broken == []


@pytest.mark.parametrize("module", ["d1", "d1.cli", "d1.device"])
def test_importing_the_software_does_not_import_the_rtl(module: str) -> None:
    program = f"import sys, {module}; print(*sorted({{'amaranth', 'd1_rtl'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def components() -> list[tuple[str, str]]:
    """Return name and docstring of every component of the RTL."""
    return [
        (node.name, ast.get_docstring(node) or "")
        for package, _, tree in modules()
        if package == "d1_rtl"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith("Component") for base in node.bases)
    ]


def test_every_component_of_the_rtl_names_its_golden_twin() -> None:
    found = components()
    assert len(found) > 10
    public = [(name, doc) for name, doc in found if not name.startswith("_")]
    assert [name for name, doc in public if "olden twin" not in doc] == []


def resolves(reference: str) -> bool:
    """Tell whether a dotted name is a module or something in one."""
    parts = reference.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            annotated = getattr(value, "__annotations__", {})
            fields = getattr(value, "__dataclass_fields__", {})
            if attribute in annotated or attribute in fields:
                return True
            if not hasattr(value, attribute):
                return False
            value = getattr(value, attribute)
        return True
    return False


def test_every_name_of_the_golden_model_that_the_rtl_speaks_of_exists() -> None:
    pattern = re.compile(r"\bd1_golden(?:\.\w+)+")
    spoken = {
        (path.name, reference)
        for package, path, _ in modules()
        if package == "d1_rtl"
        for reference in pattern.findall(path.read_text())
    }
    assert len(spoken) > 10
    assert sorted(pair for pair in spoken if not resolves(pair[1])) == []


@pytest.fixture(scope="module")
def write_docs():
    """Return the script that writes the generated tables, as a module."""
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "tools" / "write_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_generated_tables_of_the_documentation_are_up_to_date(write_docs) -> None:
    stale = [
        p.name
        for p in pages()
        if write_docs.fill(p.read_text(), write_docs.SECTIONS) != p.read_text()
    ]
    assert stale == [], "run `make docs`"


def test_every_generated_section_has_a_known_name(write_docs) -> None:
    names = {m[1] for p in pages() for m in write_docs.SECTION.finditer(p.read_text())}
    assert names - set(write_docs.SECTIONS) <= {"benchmarks", "saturation"}


def test_every_link_between_pages_leads_to_a_file() -> None:
    link = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
    broken = [
        (str(page.relative_to(ROOT)), target)
        for page in [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for target in link.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    names = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert [name for name in sorted(names) if f"]({name})" not in index] == []


def test_every_file_of_the_node_is_on_its_page() -> None:
    page = (ROOT / "docs" / "node.md").read_text()
    linked = set(re.findall(r"\]\(\.\./rtl/d1_rtl/node/(\w+\.py)\)", page))
    files = {path.name for path in (ROOT / "rtl" / "d1_rtl" / "node").glob("*.py")}
    assert len(files) > 50
    assert linked == files - {"__init__.py"}


def test_every_box_in_the_picture_of_the_node_is_a_component(write_docs) -> None:
    page = (ROOT / "docs" / "node.md").read_text()
    picture = re.search(r"^```mermaid\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    assert picture is not None
    drawn = set(re.findall(r"\b[A-Z]\w+", re.sub(r"\|[^|]*\|", " ", picture[1]))) - {"LR"}
    found = write_docs.components(ROOT / "rtl" / "d1_rtl")
    assert {"Node", "Sram", "MatrixUnit"} <= drawn
    assert sorted(drawn - set(found)) == []
    for whole in ("Node", "Core", "NetworkInterface"):
        parts = {name for name in found[whole].parts if not name.startswith("Shared")}
        assert sorted(parts - drawn) == [], f"parts of {whole}"


def test_every_page_that_a_source_speaks_of_exists() -> None:
    spoken = {
        (name, page)
        for name, text in texts()
        if name.endswith(".py")
        for page in re.findall(r"\bdocs/[\w/]+\.md\b", text)
    }
    assert len(spoken) > 5
    assert sorted(pair for pair in spoken if not (ROOT / pair[1]).exists()) == []


def test_the_measured_table_of_the_readme_is_that_of_the_benchmark_page(write_docs) -> None:
    tables = {
        name: [
            m[2]
            for m in write_docs.SECTION.finditer((ROOT / name).read_text())
            if m[1] == "benchmarks"
        ]
        for name in ("README.md", "docs/benchmarks.md")
    }
    assert len(tables["README.md"]) == 1
    assert tables["README.md"] == tables["docs/benchmarks.md"]


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "verilog", "clean"])
def test_make_has_the_target_and_explains_it(target: str) -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.search(rf"^{target} +\w", done.stdout, re.MULTILINE)


def test_the_host_check_passes_here_and_names_packages_where_something_is_missing() -> None:
    script = ROOT / "tools" / "check_host.py"
    here = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (here.returncode, here.stderr) == (0, "")
    bare = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={"PATH": ""}
    )
    assert bare.returncode == 1
    assert "package g++" in bare.stderr
    assert "package make" in bare.stderr
