"""What is held out, and what is shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from byol_a.errors import ByolaError, UsageError
from byol_a.training.config import PretrainConfig
from downstream.compare.corpus import Corpus


def names(corpus: Corpus, rows: np.ndarray) -> list[bytes]:
    return [corpus.store(16000).index.path_bytes(int(row)) for row in rows]


def test_a_tenth_is_held_out_wherever_the_data_lie(digits: Path, tmp_path: Path, config: PretrainConfig) -> None:
    corpus = Corpus([digits], tmp_path / "packed", torch.device("cpu"))
    held = corpus.held_out_rows(16000)
    assert len(held) == 2 and len(corpus.store(16000)) == 27
    clips = corpus.training_clips(config)
    learned = {clips.index.path_bytes(row) for row in range(len(clips))}
    assert len(learned) == 25 and learned.isdisjoint(names(corpus, held))
    crops = corpus.held_out_crops(config)
    assert crops.shape == (2, config.crop_samples) and crops.dtype == torch.int16 and crops.any(dim=1).all()

    digits.rename(tmp_path / "moved")
    moved = Corpus([tmp_path / "moved"], tmp_path / "again", torch.device("cpu"))
    assert names(moved, moved.held_out_rows(16000)) == names(corpus, held)
    # A store is read where it is.
    given = Corpus([tmp_path / "packed" / "16000-hz"], tmp_path / "nothing", torch.device("cpu"))
    assert given.fingerprint(16000) == corpus.fingerprint(16000) and not (tmp_path / "nothing").exists()
    with pytest.raises(UsageError, match="pack it again with --rate 8000"):
        given.store(8000)


def test_statistics_are_measured_once_for_all_that_have_the_same_crops(
    digits: Path, tmp_path: Path, config: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol_a.training.sources import ClipSource

    measured, original = [], ClipSource.statistics
    monkeypatch.setattr(ClipSource, "statistics", lambda *given: measured.append(1) or original(*given))
    corpus = Corpus([digits], tmp_path / "packed", torch.device("cpu"))
    stats = corpus.statistics(config)
    other = replace(config, training=replace(config.training, seed=9, batch_size=4))
    assert corpus.statistics(other) == stats and len(measured) == 1
    corpus.statistics(replace(config, data=replace(config.data, crop_seconds=0.4)))
    assert len(measured) == 2


def test_a_filter_that_leaves_nothing_to_learn_from(digits: Path, tmp_path: Path, config: PretrainConfig) -> None:
    corpus = Corpus([digits], tmp_path / "packed", torch.device("cpu"))
    only = [name.decode() for name in names(corpus, corpus.held_out_rows(16000))]
    filtered = replace(config, data=replace(config.data, filter=replace(config.data.filter, include=only)))
    with pytest.raises(UsageError, match="no clip but those held out"):
        corpus.training_clips(filtered)


def test_what_cannot_be_packed_is_said_for_this_command(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (digits / "recordings" / "0_ann_0.wav").write_text("this is not audio")
    said: list[str] = []
    corpus = Corpus([digits], tmp_path / "packed", torch.device("cpu"), said.append)
    assert len(corpus.store(16000)) == 26
    assert len(said) == 1 and said[0].startswith("1 file could not be used: ") and "bad_files.csv" in said[0]

    def fail(*_: object, **__: object) -> None:
        raise ByolaError("x is not there; mount it again and run the same `byol-a pack` again")

    monkeypatch.setattr("downstream.compare.corpus.pack", fail)
    with pytest.raises(ByolaError, match="could not be: x is not there; mend that, and the same command goes on") as no:
        Corpus([digits], tmp_path / "again", torch.device("cpu")).store(16000)
    assert "byol-a pack" not in str(no.value)
