"""Published weights: found in any wrapping, recognised by shape, refused with what is missing."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from byol_a import BYOLA, UsageError
from byol_a.cli.import_weights import import_weights
from byol_a.encoders import create_encoder
from byol_a.encoders.import_weights import read_weights

GOLDEN = [("audiontt2020_d32", "AudioNTT2020"), ("audiontt2022_d1056_h32", "AudioNTT2022")]


def golden_state(data) -> dict[str, torch.Tensor]:
    keys = [key for key in data.files if key.startswith("state/")]
    return {key.removeprefix("state/"): torch.from_numpy(data[key]) for key in keys}


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def wrapped(state: dict[str, torch.Tensor], prefix: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((prefix + key, tensor) for key, tensor in state.items())


@pytest.mark.parametrize(("file", "name"), GOLDEN)
def test_embedding_equals_the_papers_forward_pass(golden, tmp_path, file, name):
    """The released layout with a prefix and a misleading file name, through the command, against the numbers."""
    data = golden(file)
    path = saved(tmp_path / "AudioNTT2020-BYOLA-64x96d2048.pth", wrapped(golden_state(data), "module.model."))
    out = tmp_path / "model"
    result = CliRunner().invoke(import_weights, [str(path), "--out", str(out), "--stats", "-5.5", "4.25"])
    assert result.exit_code == 0, result.output
    assert name in result.output and f"D = {data['out_clip'].shape[1]}" in result.output
    model = BYOLA.from_pretrained(out)
    assert (model.normalization.mean, model.normalization.std) == (-5.5, 4.25)
    with torch.no_grad():
        for suffix in ("", "_long"):
            x = torch.from_numpy(data["x" + suffix])
            np.testing.assert_allclose(model.encoder(x), data["out_clip" + suffix], atol=1e-5)
            log_mel = x[:, 0] * 4.25 - 5.5
            from_log_mel = model.encoder(model.encoder_input(log_mel)).detach()
            np.testing.assert_allclose(from_log_mel, data["out_clip" + suffix], atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "online_encoder.net.", "a.b.c."])
def test_any_wrapping(golden, tmp_path, prefix):
    state = golden_state(golden(GOLDEN[1][0]))
    network = torch.nn.Linear(3, 3)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(3)).sum().backward()
    optimizer.step()
    target = {key: tensor + 1 for key, tensor in wrapped(state, "target_encoder.net.").items()}
    junk = {**wrapped(state, prefix), **target, "projector.0.weight": torch.ones(2, 2), "step": 7}
    for content in (
        wrapped(state, prefix),
        {"state_dict": junk, "optimizer": optimizer.state_dict(), "epoch": 3},
        {"checkpoint": {"model": junk}, "lr": [1e-4], "args": {"name": "d512"}},
    ):
        weights = read_weights(saved(tmp_path / "x.pth", content))
        assert (weights.name, weights.options, weights.n_mels) == ("AudioNTT2022", {"hidden_dim": 32}, 64)
        assert weights.state.keys() == state.keys()
        assert all(torch.equal(weights.state[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("name", "options", "n_mels"),
    [
        ("AudioNTT2020", {"embedding_dim": 512}, 64),
        ("AudioNTT2020", {"embedding_dim": 7}, 80),
        ("AudioNTT2022", {"hidden_dim": 2048}, 64),
        ("AudioNTT2022", {"hidden_dim": 5}, 128),
    ],
)
def test_sizes_come_from_the_shapes(tmp_path, name, options, n_mels):
    encoder = create_encoder(name, n_mels=n_mels, **options).half()
    state = {k: v for k, v in encoder.state_dict().items() if not k.endswith("num_batches_tracked")}
    weights = read_weights(saved(tmp_path / "x.pth", state))
    assert (weights.name, weights.options, weights.n_mels) == (name, options, n_mels)
    create_encoder(name, n_mels=n_mels, **options).load_state_dict(weights.state)
    assert weights.state["fc.0.weight"].dtype == torch.float32


def test_what_is_wrong_is_named(golden, tmp_path):
    state = golden_state(golden(GOLDEN[0][0]))
    path = tmp_path / "x.pth"

    def refused(content: object, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            read_weights(saved(path, content))

    refused({}, "no key ending in features.0.weight.*no tensor at all")
    refused({"conv1.weight": torch.ones(1)}, "it has conv1.weight")
    refused({k: v for k, v in state.items() if k != "fc.0.weight"}, r"has no fc\.0\.weight")
    refused(
        wrapped({k: v for k, v in state.items() if k != "fc.3.bias"}, "m."), r"AudioNTT2020, but lacks m\.fc\.3\.bias"
    )
    refused({**state, "features.12.weight": torch.ones(1)}, r"more than that: features\.12\.weight")
    refused({**state, "fc.3.bias": torch.ones(3)}, r"fc\.3\.bias has the shape \(3,\), not \(32,\)")
    other = {key: tensor + 1 for key, tensor in state.items()}
    refused({**wrapped(state, "a."), **wrapped(other, "b.")}, "several encoders, under 'a.', 'b.'")
    with pytest.raises(UsageError, match="there is no file"):
        read_weights(tmp_path / "nowhere.pth")
    path.write_bytes(b"garbage")
    with pytest.raises(UsageError, match="cannot be read as weights alone"):
        read_weights(path)
    saved(path, state)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UsageError, match="cannot be read as weights alone"):
        read_weights(path)


@pytest.mark.parametrize("error", [IndexError, struct.error, AttributeError, TypeError])
def test_whatever_damage_leads_to_is_one_sentence(tmp_path, monkeypatch, error):
    def load(*args, **kwargs):
        raise error("damage\nand more of it")

    monkeypatch.setattr(torch, "load", load)
    (tmp_path / "x.pth").write_bytes(b"anything")
    with pytest.raises(UsageError, match=rf"cannot be read as weights alone \({error.__name__}: damage\)"):
        read_weights(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore")
def test_damaged_files_of_the_old_format(tmp_path):
    """Bytes overwritten one after the other, where a plain pickle is read without a checksum."""
    torch.save({"features.0.weight": torch.ones(2)}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    whole = (tmp_path / "x.pth").read_bytes()
    for place in range(0, len(whole), 3):
        (tmp_path / "x.pth").write_bytes(whole[:place] + b"R" + whole[place + 1 :])
        with pytest.raises(UsageError):
            read_weights(tmp_path / "x.pth")


def test_code_in_a_file_is_never_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"features.0.weight": Payload()}))
    with pytest.raises(UsageError, match="cannot be read as weights alone"):
        read_weights(path)
    saved(path, {"features.0.weight": Payload()})
    with pytest.raises(UsageError, match="cannot be read as weights alone"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


def test_statistics_are_asked_for_or_computed(golden, tmp_path, write_wav):
    path = saved(tmp_path / "x.pth", golden_state(golden(GOLDEN[0][0])))
    both = ["--stats", "0", "1", "--stats-from", str(tmp_path)]
    for arguments in ([], both):
        result = CliRunner().invoke(import_weights, [str(path), "--out", str(tmp_path / "m"), *arguments])
        assert isinstance(result.exception, UsageError)
        assert "give either --stats MEAN STD" in str(result.exception)
    for index in range(3):
        write_wav(tmp_path / "audio" / f"{index}.wav", seed=index)
    (tmp_path / "audio" / "bad.wav").write_bytes(b"")
    found = []
    for out in ("one", "two"):
        arguments = ["--stats-from", str(tmp_path / "audio"), "--licence", "evaluation only"]
        result = CliRunner().invoke(import_weights, [str(path), "--out", str(tmp_path / out), *arguments])
        assert result.exit_code == 0, result.output
        assert "1 of 4 files could not be used" in result.output
        found.append(BYOLA.from_pretrained(tmp_path / out))
    assert found[0].normalization == found[1].normalization
    assert -12 < found[0].normalization.mean < 0 < found[0].normalization.std < 8
    assert found[0].licence == "evaluation only"
    assert "license: other" in (tmp_path / "one" / "README.md").read_text()


def test_front_end_options(golden, tmp_path):
    path = saved(tmp_path / "x.pth", golden_state(golden(GOLDEN[0][0])))
    options = ["--stats", "0", "1", "--mel-scale", "htk", "--mel-norm", "none", "--f-max", "8000"]
    result = CliRunner().invoke(import_weights, [str(path), "--out", str(tmp_path / "m"), *options])
    assert result.exit_code == 0, result.output
    config = BYOLA.from_pretrained(tmp_path / "m").frontend.config
    assert (config.mel_scale, config.mel_norm, config.f_max) == ("htk", None, 8000.0)
