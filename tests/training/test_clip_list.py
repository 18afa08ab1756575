"""What a run learns from: the same crops from folders, an index and a store, and the filters and weights of each."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a.config import build
from byol_a.data.scan.scan import scan
from byol_a.data.store.pack import pack
from byol_a.errors import ByolaError, UsageError
from byol_a.training.clip_list import ClipList, gather_clips
from byol_a.training.config import DataConfig, PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.sources import ClipSource

from .small import values

ALONE = Processes(0, 1, torch.device("cpu"))
S = 8000


def config(**data: object) -> DataConfig:
    return build(DataConfig, {"crop_seconds": 0.5, "workers": 0, **data}, "test")


def gather(*data: Path, **settings: object) -> ClipList:
    return gather_clips(data, config(**settings), ALONE)[0]


def batch(clips: ClipList, steps: int = 3) -> torch.Tensor:
    """The waves of the first steps of a run."""
    source = ClipSource(clips, build(PretrainConfig, {**values(), "data": {"workers": 0}}, "test"), ALONE)
    return torch.cat([part.wave for part in source.batches(0, steps)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import soundfile

    folder = tmp_path_factory.mktemp("audio") / "set"
    rng = np.random.default_rng(0)
    for number in range(6):
        place = folder / ("even" if number % 2 == 0 else "odd") / f"{number}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, 0.1 * rng.standard_normal(S * (number + 1)), 16000)
    (folder / "broken.wav").write_bytes(b"no sound")
    return folder


@pytest.fixture(scope="module")
def index(folder: Path) -> Path:
    scan([folder], folder.parent / "index.parquet", workers=1, progress=False)
    return folder.parent / "index.parquet"


@pytest.fixture(scope="module")
def store(index: Path) -> Path:
    pack([index], index.parent / "store", workers=1, progress=False, shard_bytes=100_000)
    return index.parent / "store"


def test_the_same_crops_from_an_index_and_a_store(index: Path, store: Path) -> None:
    from_index, from_store = gather(index), gather(store)
    assert len(from_index) == len(from_store) == 6
    assert from_index.fingerprint == from_store.fingerprint
    assert torch.equal(batch(from_index), batch(from_store))


def test_a_folder_gives_them_too_where_nothing_is_broken(folder: Path, index: Path) -> None:
    whole = gather(folder / "even", folder / "odd")
    assert torch.equal(batch(whole), batch(gather(index)))


def test_broken_files_are_named(folder: Path, index: Path) -> None:
    _, problems = gather_clips([index], config(), ALONE)
    assert [path for path, _ in problems] == [str(folder / "broken.wav")]


@pytest.mark.parametrize("kind", ["index", "store"])
def test_filters_apply_where_the_data_are_used(kind: str, index: Path, store: Path) -> None:
    data = index if kind == "index" else store
    clips = gather(data, filter={"min_seconds": 1.0, "exclude": ["*/5.wav"]})
    assert [name.split("/")[-1] for name in clips.index.names()] == ["2.wav", "4.wav", "1.wav", "3.wav"]
    assert torch.equal(batch(clips), batch(gather(index, filter={"min_seconds": 1.0, "exclude": ["*/5.wav"]})))


def drawn(clips: ClipList, epochs: int = 20) -> Counter[str]:
    from byol_a.data.sampling import EpochOrder

    order = EpochOrder(len(clips), 0, clips.weights)
    rows = np.concatenate([order.epoch(epoch).indices for epoch in range(epochs)])
    return Counter(Path(clips.index.name(int(row))).stem for row in rows)


def test_sampling_by_duration(index: Path, store: Path) -> None:
    counts = drawn(gather(index, sampling="duration"), epochs=7)
    # 42 draws over lengths 1 to 6, whose sum is 21: twice the length, give or take what one epoch rounds.
    assert all(abs(counts[str(number)] - 2 * (number + 1)) <= 3 for number in range(6))
    assert drawn(gather(store, sampling="duration"), epochs=7) == counts


def test_sampling_by_labels(index: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file_name,label\n0.wav,rare\n1.wav,common\n2.wav,common\n3.wav,common\n4.wav,\n")
    clips = gather(index, sampling="labels", labels=[str(table)])
    counts = drawn(clips)
    assert set(counts) == {"0", "1", "2", "3"}  # 4 and 5 have no label
    assert counts["0"] == pytest.approx(sum(counts[name] for name in "123"), rel=0.1)


def test_what_cannot_be_given(folder: Path, index: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given alone"):
        gather(folder, index)
    with pytest.raises(UsageError, match="is a store"):
        gather(folder, store)
    with pytest.raises(UsageError, match="byol-a scan"):
        gather(folder, sampling="duration")
    with pytest.raises(UsageError, match="byol-a scan"):
        gather(folder, filter={"min_seconds": 1})
    with pytest.raises(UsageError, match=r"data\.labels"):
        config(sampling="labels")
    with pytest.raises(UsageError, match="there is no index"):
        gather(tmp_path / "none.parquet")


def test_a_store_of_another_rate(store: Path) -> None:
    with pytest.raises(UsageError, match="--rate 8000"):
        gather(store).open(8000)


def test_data_that_moved(folder: Path, index: Path, store: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    shutil.copytree(store, tmp_path / "moved store")
    assert torch.equal(batch(gather(index, root=str(tmp_path / "moved"))), batch(gather(index)))
    for clips, root in ((gather(index), "moved"), (gather(store), "moved store")):
        moved = clips.at_root(str(tmp_path / root))
        assert torch.equal(batch(moved), batch(clips))
        assert moved.fingerprint == clips.fingerprint


def test_another_store_in_its_place(store: Path, folder: Path, tmp_path: Path) -> None:
    """The same names and sizes, another sound."""
    shutil.copytree(folder, tmp_path / "set")
    changed = bytearray((tmp_path / "set" / "odd" / "1.wav").read_bytes())
    changed[-1] ^= 1
    (tmp_path / "set" / "odd" / "1.wav").write_bytes(changed)
    pack([tmp_path / "set"], tmp_path / "store", workers=1, progress=False)
    assert gather(tmp_path / "store").fingerprint == gather(store).fingerprint
    with pytest.raises(ByolaError, match="not the store that the run began with"):
        gather(store).at_root(str(tmp_path / "store")).open(16000)


def test_a_root_is_for_an_index(folder: Path, store: Path) -> None:
    for data in (folder / "even", store):
        with pytest.raises(UsageError, match=r"data\.root"):
            gather(data, root="/elsewhere")


def test_a_file_that_changed_since_the_scan_is_not_used(
    index: Path, folder: Path, tmp_path: Path, write_wav: Callable[..., Path]
) -> None:
    shutil.copytree(folder, tmp_path / "set")
    clips = gather(index, root=str(tmp_path / "set"))
    changed = write_wav(tmp_path / "set" / "even" / "4.wav", seconds=0.7)
    source = ClipSource(clips, build(PretrainConfig, {**values(), "data": {"workers": 0}}, "test"), ALONE)
    for _ in source.batches(0, 3):
        pass
    assert [(path, reason.partition(":")[0]) for path, reason in source.report.items()] == [(str(changed), "changed")]


def test_members_of_a_tar(folder: Path, index: Path, tmp_path: Path) -> None:
    """WebDataset shards give the crops of the files in them."""
    import tarfile

    with tarfile.open(tmp_path / "shard-000.tar", "w") as tar:
        for path in sorted(folder.rglob("*.wav")):
            tar.add(path, path.relative_to(folder).as_posix())
    scan([tmp_path / "shard-000.tar"], tmp_path / "tar.parquet", workers=1, progress=False)
    assert torch.equal(batch(gather(tmp_path / "tar.parquet")), batch(gather(index)))
