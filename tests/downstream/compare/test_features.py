"""Files are decoded once for all models, clips embedded once for all tasks of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from byol_a import BYOLA, FrontendConfig, NormStats
from byol_a.errors import AudioError
from downstream.compare import features as shared
from downstream.compare.features import ComparedFeatures, SharedAudio
from downstream.features import EmbeddingRequest, ModelFeatures, Piece
from downstream.tasks import Clip


def pieces(folder: Path) -> list[Piece]:
    paths = sorted(folder.rglob("*.wav"))[:5]
    return [Piece(index, Clip(path, ("x",), "train")) for index, path in enumerate(paths)]


def test_rows_are_those_of_plain_features(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (digits / "recordings" / "0_ann_0.wav").write_text("this is not audio")
    decoded, embedded = [], []
    read, extract = ModelFeatures.read, ModelFeatures.extract
    monkeypatch.setattr(ModelFeatures, "read", lambda *given: decoded.append(given) or read(*given))
    monkeypatch.setattr(
        ModelFeatures, "extract", lambda self, given, request: embedded.extend(given) or extract(self, given, request)
    )
    wanted, request, audio = pieces(digits), EmbeddingRequest(), SharedAudio()
    models = [BYOLA("AudioNTT2020", {"embedding_dim": 8}, FrontendConfig(), NormStats(-7.0, 4.0)) for _ in range(2)]
    for model in models:
        made = ComparedFeatures("m", model, audio, "cpu")
        rows = list(made.extract(wanted, request))
        again = list(made.extract(wanted[::-1], request))[::-1]
        assert isinstance(rows[0], AudioError) and again[0] is rows[0]
        plain = list(extract(ModelFeatures("m", model), wanted, request))
        for row, other, expected in zip(rows[1:], again[1:], plain[1:], strict=True):
            assert row is other
            np.testing.assert_allclose(row, expected, atol=1e-6)
    assert len(embedded) == 2 * 5
    # What cannot be read is tried again; `plain` read all for itself.
    assert len([given for given in decoded if isinstance(given[0], ComparedFeatures)]) == 5 + 1


def test_audio_is_kept_as_long_as_there_is_room(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_BYTES", 100_000)
    audio, request = SharedAudio(), EmbeddingRequest()
    model = BYOLA("AudioNTT2020", {"embedding_dim": 8}, FrontendConfig(), NormStats(-7.0, 4.0))
    made = ComparedFeatures("m", model, audio, "cpu")
    waves = [audio.read(made, piece, request) for piece in pieces(digits)]
    kept = [audio.read(made, piece, request) is wave for piece, wave in zip(pieces(digits), waves, strict=True)]
    assert any(kept) and not all(kept)
