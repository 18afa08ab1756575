"""The network: a copy that leaves the model alone, a frozen encoder that stays, logits that no batching changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byol_a.errors import AudioError
from byol_a.model import BYOLA
from downstream.protocols.finetuning import Classifier, predict
from tests.downstream.protocols.finetuning.tones import tiny_model, tone, waves_of

SAMPLES = 800


def ready(model: BYOLA, seed: int = 0, **options: str) -> Classifier:
    """A network whose standardisation has seen a batch."""
    network = Classifier(model, 3, 0.0, seed, **options)  # type: ignore[arg-type]
    waves = torch.from_numpy(np.stack([tone(200 + 100 * i, 0.2, i) for i in range(8)]) * 32767).to(torch.int16)
    with torch.no_grad():
        network.train()(network.log_mels(waves))
    return network.eval()


def test_the_model_stays_as_it_is_and_heads_differ_by_seed() -> None:
    model = tiny_model()
    before = model.fingerprint()
    networks = [ready(model, seed) for seed in (0, 0, 1)]
    assert model.fingerprint() == before and not model.training
    weights = [network.head[-1].weight for network in networks]  # type: ignore[union-attr]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["model", "mean", "max"])
def test_logits_are_those_of_the_standardised_clip_embedding(pooling: str) -> None:
    model = tiny_model()
    network = ready(model, pooling=pooling)
    waves = (np.stack([tone(500, 0.2, 20), tone(900, 0.2, 21)]) * 32767).astype(np.int16)
    embeddings = torch.from_numpy(
        network.model.encode([wave.astype(np.float32) / 32767 for wave in waves], pooling=pooling)  # type: ignore[arg-type]
    )
    norm, _, linear = network.head
    expected = linear((embeddings - norm.running_mean) / (norm.running_var + norm.eps).sqrt())
    torch.testing.assert_close(network(network.log_mels(torch.from_numpy(waves))), expected, atol=1e-4, rtol=1e-4)


def test_a_frozen_encoder_changes_in_nothing_and_an_unfrozen_one_learns() -> None:
    network = Classifier(tiny_model(), 3, 0.0, 0)
    x = torch.randn(6, 8, 20)
    for frozen in (True, False):
        network.freeze(frozen)
        network.train()
        before = network.model.fingerprint()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()
        assert (network.model.fingerprint() == before) == frozen
        assert network.head[-1].weight.grad is not None  # type: ignore[union-attr]


def test_predictions_are_means_over_units_whatever_the_batches() -> None:
    network = ready(tiny_model())
    found: dict[int, np.ndarray | AudioError] = {i: tone(300 + 50 * i, 0.1 + 0.15 * i, i) for i in range(6)}
    found[3] = AudioError("three.wav", "empty")
    waves = waves_of(found)
    order = [5, 0, 3, 1, 2, 4]
    scores = predict(network, waves, order, SAMPLES, whole=True, batch_size=4)
    assert scores.dtype == np.float32 and np.isnan(scores[2]).all() and np.isfinite(np.delete(scores, 2, axis=0)).all()
    np.testing.assert_allclose(scores, predict(network, waves, order, SAMPLES, True, 100), atol=1e-4)
    first = predict(network, waves, order, SAMPLES, whole=False, batch_size=3)
    np.testing.assert_allclose(first[1], scores[1], atol=1e-4)  # shorter than a unit
    by_hand = [
        predict(network, waves_of({0: piece.copy()}), [0], SAMPLES, True, 4)[0]
        for piece in (found[2][:SAMPLES], found[2][-SAMPLES:])  # type: ignore[index]
    ]
    np.testing.assert_allclose(scores[4], np.mean(by_hand, axis=0), atol=1e-3)
    assert not network.training
