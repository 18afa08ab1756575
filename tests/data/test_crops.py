"""Random crops: their place, their determinism, what replaces bad files, and work in data workers."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a.data.crops import RandomCrops, draw, from_int16, to_int16
from byol_a.data.io import AudioFile, open_audio, read_audio
from byol_a.data.loader import load_crops
from byol_a.errors import ByolaError, UsageError

WriteWav = Callable[..., Path]
S = 4000


@pytest.fixture
def files(tmp_path: Path, write_wav: WriteWav) -> list[Path]:
    rates = [16000, 8000, 44100, 16000, 22050, 16000]
    return [write_wav(tmp_path / f"{i}.wav", 0.6 + 0.1 * i, rate, seed=i) for i, rate in enumerate(rates)]


def write_ramp(path: Path, samples: int) -> Path:
    import soundfile

    # Sample n holds n + 1, so that a crop tells where it was taken.
    soundfile.write(path, np.arange(1, samples + 1, dtype=np.int16), 16000)
    return path


def test_int16_round_trip() -> None:
    wave = np.array([-2, -1, -0.5, 0, 0.25, 1, 1.5], dtype=np.float32)
    back = from_int16(torch.from_numpy(to_int16(wave)))
    assert back.dtype == torch.float32
    np.testing.assert_allclose(back, wave.clip(-1, 1), atol=0.5 / 32767 + 1e-7)
    every = torch.arange(-32767, 32768, dtype=torch.int32).to(torch.int16)
    assert torch.equal(torch.from_numpy(to_int16(from_int16(every).numpy())), every)


def test_a_crop_is_a_part_of_its_file(files: list[Path]) -> None:
    crops = RandomCrops(files, S, 16000, seed=3)
    assert len(crops) == len(files)
    for index, path in enumerate(files):
        wave, problems = crops[(0, index)]
        assert wave.dtype == torch.int16 and wave.shape == (S,) and not problems
        whole = to_int16(read_audio(path)).astype(np.int64)
        starts = range(max(1, len(whole) - S + 1))
        assert min(np.abs(whole[n : n + S : 50] - wave.numpy()[::50]).max() for n in starts) <= 1  # int16 steps


def test_positions_are_uniform_and_reach_both_ends(tmp_path: Path) -> None:
    crops = RandomCrops([write_ramp(tmp_path / "ramp.wav", 110)], 100, 16000, seed=0)
    starts = [int(crops[(epoch, 0)].wave[0]) - 1 for epoch in range(1100)]
    counts = np.bincount(starts, minlength=11)
    assert counts.shape == (11,)
    assert ((counts - 100.0) ** 2 / 100).sum() < 29.6  # chi-square, 10 degrees of freedom, p = 0.001


def test_a_crop_depends_on_seed_epoch_and_index_only(files: list[Path]) -> None:
    keys = [(epoch, index) for epoch in range(2) for index in range(len(files))]
    first = {key: RandomCrops(files, S, 16000, seed=1)[key].wave for key in keys}
    again = RandomCrops([str(path) for path in files], S, 16000, seed=1)
    for key in reversed(keys):
        assert torch.equal(again[key].wave, first[key])
    assert not torch.equal(first[(0, 5)], first[(1, 5)])
    assert not torch.equal(RandomCrops(files, S, 16000, seed=2)[(0, 5)].wave, first[(0, 5)])


def test_draws_do_not_collide() -> None:
    arguments = [(s, e, i, a) for s in range(3) for e in range(12) for i in range(12) for a in range(3)]
    assert len({value for key in arguments for value in draw(*key)}) == 2 * len(arguments)


@pytest.mark.parametrize(("pad", "before"), [("end", 0), ("both", 24)])
def test_short_clips_are_padded(tmp_path: Path, pad: str, before: int) -> None:
    crops = RandomCrops([write_ramp(tmp_path / "ramp.wav", 51)], 100, 16000, seed=0, pad=pad)  # type: ignore[arg-type]
    expected = np.zeros(100, np.int16)
    expected[before : before + 51] = np.arange(1, 52)
    np.testing.assert_array_equal(crops[(0, 0)].wave, expected)


def test_a_bad_file_is_replaced_and_named(files: list[Path], tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.wav", tmp_path / "text.wav"
    empty.touch()
    text.write_text("not sound at all " * 100)
    crops = RandomCrops([empty, text, *files], S, 16000, seed=0)
    wave, problems = crops[(0, 0)]
    assert problems[0] == (str(empty), "empty")
    assert wave.abs().max() > 0
    assert torch.equal(crops[(0, 0)].wave, wave)
    substitutes = {bytes(crops[(epoch, 0)].wave.numpy()) for epoch in range(8)}
    assert len(substitutes) > 4
    assert crops[(0, 1)].problems[0][1].startswith("not audio")


def test_no_usable_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    names = [tmp_path / "empty.wav"] * 30
    with pytest.raises(ByolaError, match=r"none of the 30 files can be used, the last tried being .*empty.wav \(empty"):
        RandomCrops(names, S, 16000, seed=0)[(0, 0)]


@pytest.fixture
def one_of_thirty(files: list[Path], tmp_path: Path) -> list[Path]:
    bad = [tmp_path / f"bad{n}.wav" for n in range(29)]
    for path in bad:
        path.write_text("not sound at all " * 100)
    return [*bad[:11], files[5], *bad[11:]]


def test_one_usable_file_is_enough(one_of_thirty: list[Path]) -> None:
    whole = to_int16(read_audio(one_of_thirty[11]))
    for index in range(30):
        crops = RandomCrops(one_of_thirty, S, 16000, seed=0)
        wave, problems = crops[(0, index)]
        assert bytes(wave.numpy()) in bytes(whole)
        paths = [path for path, _ in problems]
        assert len(set(paths)) == len(paths) < 30 and str(one_of_thirty[11]) not in paths
        if index != 11:
            assert paths[0] == str(one_of_thirty[index])


def test_bad_files_are_opened_once_and_the_crops_stay_the_same(
    one_of_thirty: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = [RandomCrops(one_of_thirty, S, 16000, seed=0)[(1, index)] for index in range(30)]
    opened: Counter[str] = Counter()

    def count_and_open(path: str) -> AudioFile:
        opened[path] += 1
        return open_audio(path)

    monkeypatch.setattr("byol_a.data.clips.open_audio", count_and_open)
    crops = RandomCrops(one_of_thirty, S, 16000, seed=0)
    for epoch in (0, 1):
        found = [crops[(epoch, index)] for index in range(30)]
    for (wave, problems), (expected, problems_expected) in zip(found, fresh, strict=True):
        assert torch.equal(wave, expected) and problems == problems_expected
    assert {path: times for path, times in opened.items() if times > 1} == {str(one_of_thirty[11]): 60}


def test_a_file_damaged_in_one_place_is_not_given_up(files: list[Path], tmp_path: Path) -> None:
    import soundfile

    wave = np.full(4 * S, 0.5, np.float32)
    wave[-10:] = np.nan
    soundfile.write(tmp_path / "damaged.wav", wave, 16000, subtype="FLOAT")
    names = [tmp_path / "damaged.wav", files[0]]
    together = RandomCrops(names, 3 * S, 16000, seed=0)
    alone = [RandomCrops(names, 3 * S, 16000, seed=0)[(epoch, 0)] for epoch in range(1500)]
    damaged = [bool(crop.problems) for crop in alone]
    assert any(damaged) and not all(damaged[damaged.index(True) :])
    for epoch, crop in enumerate(alone):
        assert torch.equal(together[(epoch, 0)].wave, crop.wave)


def test_a_batch_is_its_crops(files: list[Path], tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    crops = RandomCrops([empty, *files], S, 16000, seed=0)
    keys = [(0, 1), (3, 2, 5), (0, 0), (1, 0)]
    waves, problems = crops.batch(keys)
    assert waves.shape == (4, S) and waves.dtype == torch.int16
    for wave, key in zip(waves, keys, strict=True):
        assert torch.equal(wave, crops[key].wave)
    assert problems == [(str(empty), "empty")]


def test_a_clip_drawn_twice_in_an_epoch_gives_two_crops(files: list[Path]) -> None:
    crops = RandomCrops(files, S, 16000, seed=0)
    assert torch.equal(crops[(2, 1)].wave, crops[(2, 1, 0)].wave)
    assert len({bytes(crops[(2, 1, repeat)].wave.numpy()) for repeat in range(8)}) == 8


def test_paths_survive_pickling(files: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "é \udcff.wav"  # a name that is not UTF-8
    crops = pickle.loads(pickle.dumps(RandomCrops([*files, odd], S, 16000, seed=0)))
    assert [crops.clips.name(index) for index in range(len(crops))] == [str(path) for path in (*files, odd)]


def test_workers_give_the_same_crops(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    crops = RandomCrops([*files, tmp_path / "empty.wav"], S, 16000, seed=5)
    batches = [[(epoch, index) for index in (first, 6, first + 1)] for epoch in range(2) for first in (0, 2, 4)]

    def load(workers: int) -> list[tuple[torch.Tensor, list[tuple[str, str]]]]:
        return list(load_crops(crops, batches, workers))

    alone, together = load(0), load(2)
    assert len(alone) == len(together) == len(batches)
    for (wave_a, problems_a), (wave_b, problems_b) in zip(alone, together, strict=True):
        assert torch.equal(wave_a, wave_b)
        assert problems_a == problems_b != []


@pytest.mark.parametrize(
    ("files_given", "samples", "rate", "pad"),
    [(0, 10, 16000, "end"), (1, 0, 16000, "end"), (1, 9, 0, "end"), (1, 9, 9, "left")],
)
def test_wrong_use(files_given: int, samples: int, rate: int, pad: str) -> None:
    with pytest.raises(UsageError):
        RandomCrops(["a.wav"] * files_given, samples, rate, seed=0, pad=pad)  # type: ignore[arg-type]


def test_an_index_beyond_the_files_is_an_index_error(files: list[Path]) -> None:
    with pytest.raises(IndexError):
        RandomCrops(files, S, 16000, seed=0)[(0, len(files))]
