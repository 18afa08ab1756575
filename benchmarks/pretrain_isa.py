"""`pretrain.py` under several instruction sets: each in a process of its own, for oneDNN asks but once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WITHOUT_BF16 = "AVX512_CORE"
"""The newest of oneDNN's instruction sets that multiplies no bfloat16, in matrices or otherwise."""


def measure_isas(arguments: list[str]) -> dict[str, Any]:
    """The figures of the program with `arguments`, and below `isa` those of its variants, by name."""
    kept = [argument for argument in arguments if argument != "--isa"]
    figures = _measured(kept, {})
    figures["isa"] = {
        "bf16 without bf16 instructions": _measured(kept, {"ONEDNN_MAX_CPU_ISA": WITHOUT_BF16}),
        "float32": _measured([*kept, "training.precision=float32"], {}),
    }
    return figures


def _measured(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        program = Path(__file__).with_name("pretrain.py")
        # A later --json wins over an earlier one.
        command = [sys.executable, str(program), *arguments, "--json", str(file)]
        done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        found: dict[str, Any] = json.loads(file.read_text())
        return found
