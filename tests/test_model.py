"""The model: encode, padding, layers, saving and loading, and the hub's mixin."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from byol_a import BYOLA, AudioError, ByolaError, FrontendConfig, NormStats, UsageError

ENCODERS = [("AudioNTT2020", {"embedding_dim": 16}), ("AudioNTT2022", {"hidden_dim": 16})]


def small_model(name: str = "AudioNTT2022", options: dict | None = None, seed: int = 0) -> BYOLA:
    torch.manual_seed(seed)
    options = {"hidden_dim": 16} if options is None else options
    return BYOLA(name, options, FrontendConfig(), NormStats(-7.0, 4.0), provenance={"steps": 3}).eval()


def wave(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture(params=ENCODERS, ids=[name for name, _ in ENCODERS])
def model(request) -> BYOLA:
    return small_model(*request.param)


def test_forward_is_the_papers_and_differentiable(model):
    waves = torch.from_numpy(np.stack([wave(15200, 1), wave(15200, 2)])).requires_grad_()
    log_mel = model.frontend(waves)
    assert log_mel.shape == (2, 64, 96)
    expected = model.encoder(((log_mel + 7.0) / 4.0)[:, None])
    embeddings = model(waves)
    torch.testing.assert_close(embeddings, expected)
    embeddings.sum().backward()
    assert waves.grad.abs().sum() > 0
    np.testing.assert_allclose(model.encode(list(waves.detach())), embeddings.detach(), atol=1e-5)


def test_batched_equals_alone(model):
    waves = [wave(n, n) for n in (1, 300, 1000, 5000, 15200, 15200, 40001, 16000 * 4)]
    for level in ("clip", "frame", "layers"):
        together = model.encode(waves, level=level, batch_size=5)
        for index, one in enumerate(waves):
            alone = model.encode(one, level=level)
            rows = [layer[index] for layer in together] if level == "layers" else [together[index]]
            for row, expected in zip(rows, alone if level == "layers" else [alone], strict=True):
                assert row.shape == expected.shape
                np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max", "model"])
def test_poolings_of_clips_and_layers(model, pooling, monkeypatch):
    waves = [wave(n, n) for n in (300, 5000, 40001, 16000 * 3)]
    how = {"mean": lambda x: x.mean(0), "max": lambda x: x.max(0)}.get(pooling, lambda x: x.mean(0) + x.max(0))
    expected = np.stack([how(frames) for frames in model.encode(waves, level="frame")])
    for long_seconds in (60.0, 1.0):  # the last two are then streamed
        monkeypatch.setattr("byol_a.inputs.LONG_SECONDS", long_seconds)
        np.testing.assert_allclose(model.encode(waves, pooling=pooling), expected, atol=1e-5)
        layers = model.encode(waves, level="layers", pooling=pooling)
        np.testing.assert_allclose(layers[-1], expected, atol=1e-5)
    with pytest.raises(UsageError, match="pooling is one of model, mean, max"):
        model.encode(waves, pooling="min")


def test_other_statistics_with_the_same_encoder(model):
    stats = NormStats(-5.0, 2.0)
    other = model.with_normalization(stats)
    built = BYOLA(model.encoder_name, model.encoder_options, model.frontend.config, stats, provenance={"steps": 3})
    built.encoder.load_state_dict(model.encoder.state_dict())
    np.testing.assert_array_equal(other.encode(wave(9000)), built.encode(wave(9000)))
    assert other.fingerprint() == built.fingerprint() != model.fingerprint() and other.config == built.config
    assert model.normalization == NormStats(-7.0, 4.0) and model.normalize.stats() == model.normalization
    assert other.encoder is model.encoder and other.with_random_weights(0).normalization == stats
    half = model.double().with_normalization(stats)
    assert half.encode(wave(9000)).dtype == np.float64


def test_levels_fit_together(model):
    waves = [wave(20000, 1), wave(31000, 2)]
    clips, frames, layers = (model.encode(waves, level=level) for level in ("clip", "frame", "layers"))
    assert clips.shape == (2, model.embedding_dim) and clips.dtype == np.float32
    for clip, frame in zip(clips, frames, strict=True):
        np.testing.assert_allclose(frame.max(0) + frame.mean(0), clip, atol=1e-5)
    assert frames[0].shape == ((1 + 20000 // 160) // model.encoder.frame_stride, model.embedding_dim)
    np.testing.assert_allclose(layers[-1], clips, atol=1e-5)


def test_all_kinds_of_input(tmp_path, write_wav):
    soundfile = pytest.importorskip("soundfile")
    model = small_model()
    path = write_wav(tmp_path / "a.wav", 1.5)
    array, rate = soundfile.read(path, dtype="float32")
    expected = model.encode(path)
    assert expected.shape == (model.embedding_dim,)
    stereo = np.stack([array, array], axis=1)
    integers = (np.round(array * 32768)).astype(np.int16)
    inputs = [str(path), array, torch.from_numpy(array), (array, rate), (stereo, rate), integers, (stereo.T, rate)]
    for result in model.encode(inputs):
        np.testing.assert_allclose(result, expected, atol=2e-3)
    tensor = model.encode(inputs[:2], convert_to="tensor")
    assert isinstance(tensor, torch.Tensor) and not tensor.is_inference()
    resampled = model.encode((write_44k(array), 44100))
    assert resampled.shape == expected.shape


def write_44k(array: np.ndarray) -> np.ndarray:
    return np.interp(np.arange(0, len(array), 16000 / 44100), np.arange(len(array)), array).astype(np.float32)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (3.5, "input 0 is a float; give a path"),
        (np.zeros((2, 100), np.float32), "has the shape"),
        (torch.zeros(2, 100), "has the shape"),
    ],
)
def test_wrong_kinds_of_input(bad, message):
    with pytest.raises(UsageError, match=message):
        small_model().encode([bad])


def test_wrong_options():
    model = small_model()
    for options in ({"level": "clips"}, {"convert_to": "jax"}, {"precision": "int8"}, {"batch_size": 0}):
        with pytest.raises(UsageError, match=next(iter(options))):
            model.encode([wave(1000)], **options)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 0, 0.5, -16000, 22050.5])
def test_sample_rates_are_positive_whole_numbers(rate):
    with pytest.raises(UsageError, match=r"input 0 has the sample rate .*positive whole number"):
        small_model().encode([(wave(1000), rate)])
    assert len(small_model().encode([(wave(1000), 16000.0), (wave(1000), np.int32(8000))])) == 2


def test_bad_inputs_keep_their_place(tmp_path, write_wav):
    model = small_model()
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"not audio at all")
    inputs = [broken, write_wav(tmp_path / "good.wav"), np.zeros(0, np.float32), np.full(9, np.nan, np.float32)]
    with pytest.raises(AudioError, match=r"broken\.wav"):
        model.encode(inputs)
    told: list[str] = []
    clips = model.encode(inputs, on_error=lambda path, error: told.append(path))
    assert told == [str(broken), "input 2", "input 3"]
    assert np.isnan(clips).all(axis=1).tolist() == [True, False, True, True]
    frames = model.encode(inputs, level="frame", on_error=lambda path, error: None)
    assert [len(frame) > 0 for frame in frames] == [False, True, False, False]
    layers = model.encode(inputs[:1], level="layers", on_error=lambda path, error: None)
    assert all(np.isnan(layer).all() and len(layer) == 1 for layer in layers)


def test_no_inputs():
    model = small_model()
    assert model.encode([]).shape == (0, model.embedding_dim)
    assert model.encode([], level="frame") == []
    assert [layer.shape[0] for layer in model.encode([], level="layers")] == [0] * 4


def test_training_flags_are_left_alone():
    model = small_model().train()
    model.encoder.features[1].eval()
    before = {name: module.training for name, module in model.named_modules()}
    statistics = model.encoder.features[5].running_mean.clone()
    first, second = model.encode(wave(16000)), model.encode(wave(16000))
    np.testing.assert_array_equal(first, second)  # no dropout
    assert {name: module.training for name, module in model.named_modules()} == before
    torch.testing.assert_close(model.encoder.features[5].running_mean, statistics)


def test_bfloat16_is_close():
    model = small_model()
    exact, rough = (model.encode([wave(16000)], precision=p) for p in ("float32", "bf16"))
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05 * np.abs(exact).max()


@pytest.mark.gpu
def test_gpu_equals_cpu():
    model = small_model()
    waves = [wave(n, n) for n in (300, 5000, 15200, 40001, 16000 * 70)]
    for level in ("clip", "frame", "layers"):
        expected = model.to("cpu").encode(waves, level=level)
        for row, other in zip(model.encode(waves, level=level, device="cuda"), expected, strict=True):
            np.testing.assert_allclose(row, other, atol=1e-4)
    assert model.fingerprint() == small_model().fingerprint()


def test_timm_encoder_encodes_clips_of_any_lengths():
    pytest.importorskip("timm")
    model = small_model("timm:resnet10t", {})
    waves = [wave(n, n) for n in (8000, 15200, 15200, 30000)]
    together = model.encode(waves)
    for row, one in zip(together, waves, strict=True):
        np.testing.assert_allclose(row, model.encode(one), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AudioNTT2022", {"hidden_dim": 16, "channels": 8, "norm": "group", "weight_standardization": True}),
        ("AudioNTT2020", {"embedding_dim": 16, "channels": 8, "norm": "layer"}),
        ("AudioNTT2020", {"embedding_dim": 16, "norm": "none", "weight_standardization": "scaled"}),
    ],
)
def test_norms_that_are_not_batch_norms(name, options, tmp_path):
    """No clip's embedding depends on the others', of whatever lengths they are; saved and loaded it is the same."""
    model = small_model(name, options)
    waves = [wave(n, n) for n in (1, 5000, 15200, 15200, 40001)]
    embeddings = {level: model.encode(waves, level=level) for level in ("clip", "frame", "layers")}
    for index, one in enumerate(waves):
        np.testing.assert_allclose(embeddings["clip"][index], model.encode(one), atol=1e-4, rtol=1e-4)
        np.testing.assert_allclose(embeddings["frame"][index], model.encode(one, level="frame"), atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(embeddings["layers"][-1], embeddings["clip"])
    model.save_pretrained(tmp_path / "model")
    state = torch.get_rng_state()
    loaded = BYOLA.from_pretrained(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), state), "loading must not draw from the global generator"
    assert loaded.encoder_options == options and loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.encode(waves), embeddings["clip"])
    assert loaded.with_random_weights(1).encode(waves[:1]).shape == (1, model.embedding_dim)


# ------------------------------------------------------------------------------------------ saving and loading


def test_round_trip(model, tmp_path):
    folder = tmp_path / "model"
    model.licence = "CC-BY-4.0"
    model.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    state = torch.get_rng_state()
    loaded = BYOLA.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), state), "loading must not draw from the global generator"
    assert loaded.config == model.config and not loaded.training
    assert loaded.fingerprint() == model.fingerprint()
    np.testing.assert_array_equal(loaded.encode(wave(9000)), model.encode(wave(9000)))
    card = (folder / "README.md").read_text()
    assert "license: cc-by-4.0" in card and '"steps": 3' in card
    with pytest.raises(UsageError, match="exists already"):
        model.save_pretrained(folder)
    model.save_pretrained(folder, overwrite=True)


def test_overwrite_never_replaces_another_folder(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="is not a model folder, so --overwrite does not replace it"):
        small_model().save_pretrained(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="exists already"):
        small_model().save_pretrained(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_misspelt_options_of_saving_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"save_pretrained has no option overwrit; .* commit_message"):
        small_model().save_pretrained(tmp_path / "model", overwrit=True)
    assert not (tmp_path / "model").exists()
    for unknown in ({"config": {}, "model_card_kwargs": {}}, {"save": print}):
        with pytest.raises(UsageError, match=f"push_to_hub has no option {', '.join(unknown)}; .* commit_message"):
            small_model().push_to_hub("someone/model", **unknown)


def test_fingerprint_tells_models_apart():
    model = small_model()
    assert small_model().fingerprint() == model.fingerprint()
    others = [small_model(seed=1), model.with_random_weights(5)]
    for changes in ({"frontend": FrontendConfig(f_min=50.0)}, {"normalization": NormStats(-7.0, 4.1)}):
        given = {"frontend": FrontendConfig(), "normalization": NormStats(-7.0, 4.0), **changes}
        other = BYOLA("AudioNTT2022", {"hidden_dim": 16}, **given)
        other.encoder.load_state_dict(model.encoder.state_dict())
        others.append(other)
    assert len({model.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_random_weights_are_a_function_of_the_seed():
    model = small_model()
    state = torch.get_rng_state()
    one, same, other = (model.with_random_weights(seed).fingerprint() for seed in (1, 1, 2))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), state)
    assert model.with_random_weights(1).config["encoder"] == model.config["encoder"]


def test_random_weights_are_embedded_with_as_the_model_is():
    model = small_model()
    for fast in ("off", "auto"):
        model.use_fast(fast)
        control = model.with_random_weights(0)
        assert (control.encoder.fast, control.frontend.fast) == (model.encoder.fast, model.frontend.fast)


def test_random_weights_leave_gpus_alone(monkeypatch):
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    small = small_model()
    seeded.clear()
    small.with_random_weights(3)
    assert not seeded


def test_faults_in_the_folder_are_named(tmp_path):
    folder = tmp_path / "model"
    small_model().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    weights = (folder / "model.safetensors").read_bytes()

    def damaged(name: str, content: bytes, error: type[Exception], message: str) -> None:
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(error, match=message):
            BYOLA.from_pretrained(folder)
        (folder / name).write_bytes(original)

    def with_config(**changes: object) -> bytes:
        return json.dumps({**config, **changes}).encode()

    damaged("model.safetensors", weights[: len(weights) // 2], ByolaError, "damaged")
    damaged("model.safetensors", b"", ByolaError, "damaged")
    damaged("config.json", b"{", ByolaError, "cannot be read as JSON")
    damaged("config.json", b"[]", UsageError, "does not describe a byol-a model")
    damaged("config.json", with_config(format_version=99), ByolaError, "format version 99")
    damaged("config.json", with_config(encoder={"name": "AudioNTT2022"}), ByolaError, "damaged.*options")
    damaged("config.json", with_config(normalization={"mean": 0}), ByolaError, "damaged.*std")
    for encoder in ({"name": 3, "options": {}}, {"name": "AudioNTT2022", "options": {"hidden_dim": 1 << 60}}, 7):
        damaged("config.json", with_config(encoder=encoder), ByolaError, r"config\.json is damaged")
    damaged("config.json", with_config(frontend=None), ByolaError, r"config\.json is damaged")
    other = {"name": "AudioNTT2022", "options": {"hidden_dim": 17}}
    damaged("config.json", with_config(encoder=other), ByolaError, "does not belong to this config")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"it has no model\.safetensors"):
        BYOLA.from_pretrained(folder)
    BYOLA_names = [tmp_path / "nowhere", str(tmp_path / "nowhere"), "no such model"]
    for name in BYOLA_names:
        with pytest.raises(UsageError, match="there is no model folder"):
            BYOLA.from_pretrained(name)


def test_hub_round_trip_without_a_network(tmp_path, monkeypatch):
    """What is uploaded is our folder; a hub id loads what the client fetched."""
    import huggingface_hub

    model = small_model()
    uploads: list[str] = []

    class Api:
        def __init__(self, token=None) -> None: ...

        def create_repo(self, repo_id, **_):
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, repo_id, folder_path, **_):
            folder_path.rename(tmp_path / "hub")
            uploads.append(repo_id)
            return "https://commit"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert model.push_to_hub("someone/model") == "https://commit"
    assert uploads == ["someone/model"]
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path / "hub"))
    assert BYOLA.from_pretrained("someone/model").fingerprint() == model.fingerprint()
    assert model.save_pretrained(tmp_path / "again", push_to_hub=False) is None


def test_hub_failure_is_a_sentence(tmp_path):
    with pytest.raises(ByolaError, match="no folder here, and the Hugging Face hub did not give"):
        BYOLA.from_pretrained("someone/not-there", local_files_only=True, cache_dir=tmp_path)
