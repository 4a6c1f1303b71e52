"""Load bitstreams into boards, with openFPGALoader."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from d1.errors import BoardError

__all__ = ["flash_bitstream"]

_TOOL = "openFPGALoader"
_ADVICE = (
    f"{_TOOL} must be on PATH to load a bitstream: package openfpgaloader of Debian, Fedora, Arch "
    "and Homebrew. Without it, fujprog loads the ULX3S too: fujprog FILE"
)


def flash_bitstream(bitstream: Path, board: str, *, keep: bool = False) -> None:
    """Load a bitstream.

    Parameters
    ----------
    bitstream
        The file.
    board
        Name of the board, one of `openFPGALoader --list-boards`.
    keep
        Whether to write it to the board's flash memory, from where the FPGA takes it whenever it
        is powered; otherwise it is there until then.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    BoardError
        If openFPGALoader is not there, or failed.

    """
    if not bitstream.is_file():
        raise FileNotFoundError(2, "bitstream must be a file", str(bitstream))
    tool = shutil.which(_TOOL)
    if tool is None:
        raise BoardError(_ADVICE)
    command = [tool, "--board", board, *(["--write-flash"] if keep else []), str(bitstream)]
    code = subprocess.run(command, check=False).returncode
    if code:
        raise BoardError(f"{_TOOL} must load {bitstream}, but ended with {code}")
