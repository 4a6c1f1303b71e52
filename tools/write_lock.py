"""Write requirements.lock: the installed version of everything that d1-machine[dev] needs."""

import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HEADER = """\
# Exact versions of everything that pyproject.toml asks for, development tools included.
# Renewed by `make lock`; a local version such as torch's +cpu is left out, any build will do.
"""


def closure(name: str, extras: tuple[str, ...]) -> dict[str, str]:
    """Return name and installed version of all that distribution `name` needs, itself left out."""
    versions: dict[str, str] = {}
    todo = [(name, extras)]
    done = set()
    while todo:
        current, wanted = todo.pop()
        if (current, wanted) in done:
            continue
        done.add((current, wanted))
        found = distribution(current)
        versions[canonicalize_name(current)] = found.version.partition("+")[0]
        for requirement in map(Requirement, found.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *wanted)):
                todo.append((requirement.name, tuple(sorted(requirement.extras))))
    del versions[canonicalize_name(name)]
    return versions


if __name__ == "__main__":
    lines = (
        f"{name}=={version}\n" for name, version in sorted(closure("d1-machine", ("dev",)).items())
    )
    Path(sys.argv[1]).write_text(HEADER + "".join(lines))
