"""The modules of `benchmarks/`, which are programs and no package: importing this makes them importable."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
if str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))  # last: their short names shall hide nothing
