"""Everything there is to measure on a GPU machine, in one short session that prints one table beside the targets.

    python benchmarks/gpu_session.py --json FILE [--seconds 570] [--parts NAME ...] [--data STORE]
    python benchmarks/gpu_session.py --device cpu --quick --json FILE

Each part (see `gpu_parts.PARTS`) runs in a process of its own with a time limit, so that one that fails, hangs or
leaves the GPU in a bad state costs itself alone; figures are written as soon as they are there. What does not fit into
--seconds is left for another call with the same --json, which goes on with the parts that it lacks. It needs torch,
NumPy and pyarrow, and no package that decodes audio: without --data it learns from a store written here. The GPU's
tests need pytest as well, and some of them pydantic.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLIPS, SECONDS = 2000, 10.0


def main() -> int:
    """Measure and print; see the module's docstring. The exit code is 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="everything in small, to see that it works")
    parser.add_argument("--seconds", type=float, default=570.0, help="the most that all parts may take together")
    parser.add_argument("--parts", nargs="+", help="only these; again if the file has them already")
    parser.add_argument("--data", type=Path, help="a packed store; one is written by default")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go, and are read from if there")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # this process is to do one part
    options = parser.parse_args()
    if options.part:
        options.json.write_text(json.dumps(measure(options), indent=2))
        return 0
    figures: dict[str, Any] = json.loads(options.json.read_text()) if options.json.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        run_parts(options, figures, Path(folder))
    print(table(figures))
    return int(any("error" in found for found in figures.values()))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part, in this process."""
    import torch
    from gpu_parts import PARTS
    from gpu_runs import Session

    if options.device == "cuda":
        torch.cuda.set_device(0)
    session = Session(torch.device(options.device), options.quick, options.data)
    return PARTS[options.part][0](session)


def run_parts(options: argparse.Namespace, figures: dict[str, Any], folder: Path) -> None:
    """Run each part that is asked for or lacking, until the time is up; `figures` are written after each."""
    began = time.monotonic()
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from gpu_parts import PARTS
    from gpu_store import write_store

    data = options.data
    if data is None:
        data = write_store(folder / "store", *((12, 1.5) if options.quick else (CLIPS, SECONDS)))
    for name in options.parts or [name for name in PARTS if "error" in figures.get(name, {"error": ""})]:
        left = options.seconds - (time.monotonic() - began)
        if left < min(30.0, PARTS[name][1]):
            print(f"{name}: no time is left", flush=True)
            continue
        started = time.monotonic()
        figures[name] = _in_process(name, data, folder / f"{name}.json", min(left, PARTS[name][1]), options)
        took = time.monotonic() - started
        print(f"{name}: {figures[name].get('error', 'done')} ({took:.0f} s)", flush=True)
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _in_process(name: str, data: Path, out: Path, limit: float, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--part", name, "--json", str(out), "--device", options.device]
    command += ["--data", str(data), *(["--quick"] if options.quick else [])]
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    log = out.with_suffix(".log")
    with log.open("w") as file:
        try:
            # The workers of a part that is ended notice that by their pipes.
            code = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return {"error": f"took longer than {limit:.0f} s", "log": _end(log)}
    if code or not out.exists():
        return {"error": (_end(log) or [f"exit code {code}"])[-1], "log": _end(log)}
    found: dict[str, Any] = json.loads(out.read_text())
    return {**found, "said": [line for line in _end(log) if "recorded" in line or "plain path" in line]}


def _end(log: Path) -> list[str]:
    return log.read_text(errors="replace").strip().splitlines()[-25:]


def table(figures: dict[str, Any]) -> str:
    """The figures beside the targets, and below them what each idea brought."""

    def at(*keys: str) -> Any:
        found: Any = figures
        for key in keys:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    rows = [
        ("clips/s end to end, from a store", at("end_to_end", "clips_per_second", "end to end"), ">= 20,000"),
        ("times the baseline, same GPU", at("baseline", "ratio_to_baseline"), ">= 20"),
        ("end to end over bare step", at("end_to_end", "end_to_end_over_step"), ">= 0.9"),
        ("steps in a row without a wait", at("waits", "steps_without_a_wait"), "all (20)"),
        ("peak GPU memory, MB", at("end_to_end", "peak_memory_mb", "gpu"), "stated"),
        ("audio s/s embedded", _most(at("embed", "audio_seconds_per_second")), ">= 20,000"),
        ("loss, all ideas minus plain", at("learning", "difference"), "near 0"),
        ("GPU tests", at("tests", "summary"), "pass"),
    ]
    lines = [f"{'':<36}{'found':>16}  target"]
    lines += [f"{name:<36}{_number(value):>16}  {target}" for name, value, target in rows]
    for part in ("ideas", "compiled", "batches"):
        lines.append(f"\n{part:<36}{'clips/s':>12}{'ms/step':>10}{'peak MB':>10}")
        for name, row in (at(part) or {}).items():
            if isinstance(row, dict):
                cells = [_number(row.get(key)) for key in ("clips_per_second", "ms", "peak_mb")]
                lines.append(f"{name:<36}{cells[0]:>12}{cells[1]:>10}{cells[2]:>10}  {row.get('error', '')}")
    lines.append(f"\n{'kernel':<28}{'ms':>9}{'of a copy':>11}  best other launch")
    for name, row in (at("kernels", "kernels") or {}).items():
        best = f"{row['best_launch']}: {_number(row['best_ms'])} ms" if "best_launch" in row else ""
        lines.append(f"{name:<28}{row['ms']:>9.3f}{row['share_of_copy']:>11.2f}  {best}")
    for part in ("stages", "optimiser"):
        for name, row in (at(part) or {}).items():
            cells = row.items() if isinstance(row, dict) else [(name, row)] if isinstance(row, float) else []
            lines.append(f"{part}, fast={name}, ms: " if isinstance(row, dict) else "")
            lines[-1] += ", ".join(f"{key} {_number(value)}" for key, value in cells)
    lines += [f"{name} failed: {found['error']}" for name, found in figures.items() if "error" in found]
    return "\n".join(line for line in lines if line)


def _most(values: dict[str, float] | None) -> float | None:
    return max(values.values()) if values else None


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
    return "not measured" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
