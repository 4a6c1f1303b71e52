"""Write the node of every preset as Verilog, each distinct module once: FOLDER/PRESET.v."""

import sys
from pathlib import Path

from d1_golden.params import PRESETS
from d1_rtl.emit import emit
from d1_rtl.node.node import Node

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, params in PRESETS.items():
        text = emit(Node(params), name=f"node_{name}")
        path = folder / f"{name}.v"
        path.write_text(text)
        modules = sum(line.startswith("module ") for line in text.splitlines())
        print(f"{path}: {len(text.splitlines())} lines, {modules} modules")
