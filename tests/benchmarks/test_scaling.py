"""The program that shows how cost grows runs and draws; what it reckons by is right."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from byol_a.data.index import AudioIndex
from byol_a.data.store.audio_store import AudioStore
from tests.training.small import environment

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import data_index  # noqa: E402
import scaling_data  # noqa: E402
import scaling_figure  # noqa: E402
import scaling_steps  # noqa: E402

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="memory is looked up through Linux's /proc")
def test_everything_is_measured_and_drawn(tmp_path: Path) -> None:
    figures, picture, again = tmp_path / "figures.json", tmp_path / "scaling.png", tmp_path / "again.png"
    command = [sys.executable, BENCHMARKS / "scaling.py", "--quick", "--folder", tmp_path, "--device", "cpu"]
    done = subprocess.run(
        [*command, "--json", figures, "--figure", picture, "training.precision=float32"],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "target: at most 1.5" in done.stdout and "| batch | path |" in done.stdout
    found = json.loads(figures.read_text())
    paths = {"plain", "fast"} if found["kernels"] else {"plain"}
    assert {(one["path"], one["batch"]) for one in found["batch"]} == {(p, b) for p in paths for b in (4, 8, 16)}
    assert [one["dimension"] for one in found["width"]] == [16, 32, 16 * 16 + 16, 16 * 16 + 32]
    assert [one["crop_seconds"] for one in found["crop"]] == [0.5, 1]
    assert {one["processes"] for one in found["processes"]} == {1, 2}
    assert all(one["seconds"] > 0 for part in ("batch", "width", "crop", "processes") for one in found[part])
    for one in found["data"]:
        for kind, cost in one["epoch_us"].items():
            assert cost == pytest.approx(
                one["crop_us"][kind] + one["key_us"] + one["order_seconds"] / one["clips"] * 1e6
            )
    assert picture.read_bytes().startswith(PNG)
    scaling_figure.draw({name: value for name, value in found.items() if name not in ("width", "data")}, again)
    assert again.read_bytes().startswith(PNG)
    assert {path.name for path in tmp_path.iterdir()} == {figures.name, picture.name, again.name}


def test_a_sparse_store_is_a_store_like_any_other(tmp_path: Path) -> None:
    index = data_index.make_index(tmp_path / "index", 3000)
    store = AudioStore.open(scaling_data.sparse_store(index, tmp_path / "store"))
    table = AudioIndex.read(index)
    assert len(store) == 3000 and np.array_equal(store.lengths, table.array("frames"))
    assert store.lengths.sum() == len(store.tape) and len(store.description["shards"]) > 1
    assert not store.read(int(store.starts[-1]), int(store.lengths[-1])).any()
    shards = list((tmp_path / "store" / "shards").iterdir())
    assert sum(shard.stat().st_blocks for shard in shards) * 512 < 2e6 < sum(shard.stat().st_size for shard in shards)


@pytest.mark.parametrize(("batch", "each", "parts"), [(64, 1.0, 1), (64, 2.0, 2), (64, 100.0, 32), (2, 1e9, 1)])
def test_a_batch_is_cut_until_its_parts_fit(batch: int, each: float, parts: int) -> None:
    """Each part keeps two clips, however little room there is."""
    assert scaling_steps.parts_for(batch, each, room=100.0) == parts


def test_the_line_of_a_law_is_found() -> None:
    batches = [32, 64, 512, 4096]
    line = scaling_steps.line_through(batches, [0.1 + 0.003 * batch for batch in batches])
    assert line == pytest.approx((0.1, 0.003))
    noisy = scaling_steps.line_through([1, 2, 4], [3.0, 2.9, 3.1])
    assert noisy.fixed >= 0 and noisy.each >= 0
    assert scaling_steps.line_through([1, 2, 4], [4.0, 2.0, 1.0]).each == 0
