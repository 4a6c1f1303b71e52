"""Measure what the regression reaches of the RTL: Verilator's branches as lines of Python.

Random programs and the tests of the whole node run on a build that counts. Written are
FOLDER/coverage.txt and FOLDER/coverage.json. The exit code is 1 when a case or test fails, an
exclusion is stale, or too few lines are reached.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from d1_golden.params import PRESETS, preset
from d1_rtl.sim.coverage import Coverage

from testbench.coverage import Report, read_exclusions
from testbench.regression import NativeNode, check_case
from testbench.workload import Case

ROOT = Path(__file__).parents[1]
EXCLUSIONS = ROOT / "testbench" / "coverage_exclusions.toml"
#: Tests of the whole node, of preset `tiny`, through the fixture `machine`.
TESTS = ("test_core_*.py", "test_node_*.py")


def run_random(name: str, seeds: range, data: Path) -> int:
    """Run the cases of the regression; return how many fail."""
    node = NativeNode(preset(name), coverage=True)
    failed = 0
    for seed in seeds:
        mismatch = check_case(Case(node.params, seed), node, Counter())
        if mismatch is not None:
            print(f"preset {name}, seed {seed}: {mismatch.text}")
            failed += 1
    node.link.write_coverage(data)
    node.close()
    return failed


def run_directed(data: Path) -> int:
    """Run the tests of the whole node; return the exit code of pytest."""
    folder = ROOT / "tests" / "rtl" / "node"
    tests = sorted(path for pattern in TESTS for path in folder.glob(pattern))
    uses = [str(path) for path in tests if "machine" in path.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *uses]
    return subprocess.run([*command, f"--branch-coverage={data}"], cwd=ROOT).returncode


def main() -> int:
    """Run everything and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first random case")
    parser.add_argument("--count", type=int, default=40, help="number of random cases")
    parser.add_argument("--minimum", type=float, default=95, help="percentage of lines to reach")
    parser.add_argument("--folder", type=Path, default=ROOT / "build")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    data = folder / "coverage"
    data.mkdir(parents=True, exist_ok=True)
    for old in data.iterdir():
        old.unlink()
    seeds = range(arguments.seed, arguments.seed + arguments.count)
    failed = run_random(arguments.preset, seeds, data / "random.dat")
    problems = [f"{failed} of {len(seeds)} random cases failed"] if failed else []
    if arguments.preset == "tiny" and run_directed(data / "directed.dat"):
        problems.append("a test of the whole node failed")
    report = Report(Coverage.read(sorted(data.glob("*.dat"))), read_exclusions(EXCLUSIONS))
    heading = f"preset {arguments.preset}, {len(seeds)} random cases and the tests of the node"
    text = "\n".join([heading, "", *report.text(), ""])
    (folder / "coverage.txt").write_text(text)
    (folder / "coverage.json").write_text(json.dumps(report.data(), indent=1) + "\n")
    print(text)
    problems += report.problems(arguments.minimum)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
