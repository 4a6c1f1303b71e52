"""Prove what tests/formal claims: every proof of every `proof_*.py` there, and a table of them.

The exit code is 1 unless all proofs hold. A proof takes less than five minutes.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from testbench.formal import Outcome, Proof, prove

ROOT = Path(__file__).parents[1]


def proofs_of(path: Path) -> tuple[Proof, ...]:
    """Return the proofs of a file, its `PROOFS`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # a .py file has both
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return tuple(module.PROOFS)


def main() -> int:
    """Run the proofs whose file or claim contains a word of the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="*", help="only proofs whose file or claim has one of these")
    parser.add_argument("--seconds", type=int, default=300, help="time limit of one proof")
    arguments = parser.parse_args()
    held = total = 0
    for path in sorted((ROOT / "tests" / "formal").glob("proof_*.py")):
        unit = path.stem.removeprefix("proof_")
        for number, proof in enumerate(proofs_of(path)):
            if arguments.word and not any(w in f"{unit} {proof.claim}" for w in arguments.word):
                continue
            folder = ROOT / "build" / "formal" / f"{unit}_{number}"
            verdict = prove(proof, folder, time_limit_s=arguments.seconds)
            holds = verdict.outcome is Outcome.PASS
            where = "" if holds else f"  ({verdict.folder})"
            print(
                f"{verdict.outcome.value:8}{verdict.seconds:6.0f} s  {unit:16}{proof.claim}{where}",
                flush=True,
            )
            held, total = held + holds, total + 1
    print(f"{held} of {total} proofs hold")
    return 0 if total and held == total else 1


if __name__ == "__main__":
    sys.exit(main())
