"""Check that this machine has what pip cannot install; name the Debian package where it has not.

Runs before anything is installed, so it uses the standard library only.
"""

import ctypes
import importlib.util
import shutil
import sys
import sysconfig

MINIMUM = (3, 11)


def has_shared_libpython() -> bool:
    """Tell whether the dynamic linker finds this Python as a shared library (cocotb embeds it)."""
    name = sysconfig.get_config_var("INSTSONAME")
    folders = [sysconfig.get_config_var("LIBDIR"), None]
    for folder in folders:
        try:
            ctypes.CDLL(f"{folder}/{name}" if folder else name)
        except OSError:
            continue
        return True
    return False


def problems() -> list:
    """Return one line for each thing that is missing: what, and the package that has it."""
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        return [f"Python must be {wanted} or later, not {version}: name one with `make PYTHON=...`"]
    found = []
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        found.append(f"the venv module of Python is missing: package python{version}-venv")
    if not has_shared_libpython():
        found.append(f"no shared libpython for Python {version}: package libpython{version}")
    if not shutil.which("g++"):
        found.append("no C++ compiler g++ on PATH: package g++")
    if not shutil.which("make"):
        found.append("no make on PATH: package make")
    return found


if __name__ == "__main__":
    missing = problems()
    for line in missing:
        print(f"error: {line}", file=sys.stderr)
    if missing:
        print("Debian and Ubuntu install a package with: apt install NAME", file=sys.stderr)
    sys.exit(1 if missing else 0)
