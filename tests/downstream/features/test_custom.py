"""Encoders of one's own: found by name, called with waves, and every mistake in them said in one sentence."""

from __future__ import annotations

import itertools
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_a.data.io import read_audio
from byol_a.errors import ByolaError, UsageError
from downstream.features import CustomFeatures, EmbeddingCache, EmbeddingRequest, EmbeddingSource, cuts, is_custom
from downstream.tasks.base import Clip

GOOD = """
import numpy as np
calls = []
class Encoder:
    fingerprint = "1"
    def encode(self, waves, sample_rate):
        calls.append(len(waves))
        assert all(w.dtype == np.float32 and w.ndim == 1 for w in waves) and sample_rate == 16000
        return np.stack([[len(w), float(w.max())] for w in waves])
    def encode_frames(self, waves, sample_rate):
        return [np.stack([w[:1600], -w[:1600]], axis=1) for w in waves]
make = Encoder
class home:
    inner = Encoder
"""
_numbers = itertools.count()


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module into the working folder and return its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> str:
        name = f"my_encoder_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


@pytest.fixture
def clips(tmp_path: Path, write_wav: Callable[..., Path]) -> list[Clip]:
    paths = [write_wav(tmp_path / f"{n}.wav", 0.2 + n / 10, 22050, seed=n) for n in range(5)]
    paths[3].write_text("no audio")
    return [Clip(path, ("a",), "train") for path in paths]


def embedded(features: CustomFeatures, clips: list[Clip], request: EmbeddingRequest | None = None) -> np.ndarray:
    return EmbeddingSource(features, clips, EmbeddingCache(None), progress=False).matrix(request or EmbeddingRequest())


def test_what_reads_as_a_function_of_a_module() -> None:
    for name in ("a:b", "pack.mod:f", "pack.mod:Class.method"):
        assert is_custom(name)
    for name in ("a", "runs/model", "owner/model", "a:", ":b", "C:\\model", "a:b:c", "./a:b", "timm:x/y"):
        assert not is_custom(name)


def test_waves_go_in_and_rows_come_out_in_order(write_module: Callable[[str], str], clips: list[Clip]) -> None:
    module = write_module(GOOD)
    features = CustomFeatures(f"{module}:make", batch_size=3)
    matrix = embedded(features, clips)
    for clip, row in zip(clips, matrix, strict=True):
        if clip is clips[3]:
            assert np.isnan(row).all()
        else:
            wave = read_audio(clip.path)
            np.testing.assert_allclose(row, [len(wave), wave.max()], rtol=1e-6)
    assert sys.modules[module].calls == [3, 1]
    assert features.name == f"{module}:make" and features.sample_rate == 16000
    assert embedded(features, clips, EmbeddingRequest("first", 0.3))[[0, 4], 0].tolist() == [4800, 4800]
    assert CustomFeatures(f"{module}:home.inner").name.endswith("home.inner")


@pytest.mark.parametrize("pooling", ["mean", "max", "mean+max"])
def test_frames_can_be_pooled(write_module: Callable[[str], str], clips: list[Clip], pooling: str) -> None:
    features = CustomFeatures(f"{write_module(GOOD)}:make", pooling=pooling)  # type: ignore[arg-type]
    wave = read_audio(clips[0].path)[:1600]
    frames = np.stack([wave, -wave], axis=1)
    expected = ("mean" in pooling) * frames.mean(0) + ("max" in pooling) * frames.max(0)
    np.testing.assert_allclose(embedded(features, clips)[0], expected, atol=1e-6)
    assert features.fingerprint() != CustomFeatures(features.spec).fingerprint()


def test_what_the_object_says_of_itself(write_module: Callable[[str], str], clips: list[Clip]) -> None:
    module = write_module(
        "import torch\n"
        "class E:\n"
        "    name, sample_rate = 'Mine', 8000.0\n"
        "    def __init__(self, device): self.device = device\n"
        "    def fingerprint(self): return 'v' + self.device\n"
        "    def encode(self, waves, sample_rate):\n"
        "        return torch.tensor([[len(w), sample_rate] for w in waves]).bfloat16().requires_grad_()\n"
    )
    one, other = (CustomFeatures(f"{module}:E", device=device) for device in ("cpu", "cuda"))
    assert (one.name, one.sample_rate) == ("Mine", 8000) and one.fingerprint() != other.fingerprint()
    assert embedded(one, clips)[0].tolist() == [1600, 8000]


def test_without_a_fingerprint_the_file_stands_for_it(
    write_module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = GOOD.replace("fingerprint =", "other =")
    same, twin, changed = (write_module(text), write_module(text), write_module(text + "# changed\n"))
    specs = [f"{same}:make", f"{twin}:make", f"{changed}:make", f"{same}:Encoder"]
    assert len({CustomFeatures(spec).fingerprint() for spec in specs}) == 4
    assert capsys.readouterr().err.count("has no fingerprint") == 4
    before = CustomFeatures(specs[0]).fingerprint()
    Path(f"{same}.py").write_text(text + "# changed\n")
    assert CustomFeatures(specs[0]).fingerprint() != before
    assert not capsys.readouterr().err  # once in a process is enough


def test_one_fingerprint_of_two_encoders(write_module: Callable[[str], str]) -> None:
    """Everybody's first version is "1", and everybody's function is called `make`."""
    text = (
        "class E:\n fingerprint = '1'\n"
        " def __init__(self, name): self.name = name\n"
        " def encode(self, w, s): pass\n"
        "def make(device): return E(device)\n"  # any way for one function to return different encoders
    )
    one, other = write_module(text), write_module(text)
    made = [CustomFeatures(f"{one}:make", device="a"), CustomFeatures(f"{one}:make", device="b")]
    made += [CustomFeatures(f"{other}:make", device="a")]
    assert len({features.fingerprint() for features in made}) == 3


@pytest.mark.parametrize("given", ["''", "' '", "3", "b'1'", "lambda self: None"])
def test_fingerprints_that_are_none(write_module: Callable[[str], str], given: str) -> None:
    module = write_module(f"class E:\n fingerprint = {given}\n def encode(self, w, s): pass\n")
    with pytest.raises(UsageError, match=r"has the fingerprint .* it is a string, not empty"):
        CustomFeatures(f"{module}:E").fingerprint()


def test_a_module_without_a_file_needs_a_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_on_the_fly")
    monkeypatch.setitem(sys.modules, "made_on_the_fly", module)
    for fingerprint, file in ((None, None), ("1", None), (None, "archive.zip/module.py")):
        members = {"encode": lambda *arguments: None, "fingerprint": fingerprint}
        module.E = type("E", (), members)  # type: ignore[attr-defined]
        module.__file__ = file
        features = CustomFeatures("made_on_the_fly:E")
        if fingerprint:
            assert features.fingerprint()
        else:
            with pytest.raises(UsageError, match="its module has no file that could stand for one"):
                features.fingerprint()


def test_long_files_are_held_one_at_a_time(
    write_module: Callable[[str], str], clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(GOOD)
    features = CustomFeatures(f"{module}:make")
    expected = embedded(features, clips)
    sys.modules[module].calls.clear()
    events: list[str] = []
    read_clip, encode = cuts.read_clip, features._encode
    monkeypatch.setattr("byol_a.inputs.LONG_SECONDS", 0.35)  # the last two usable clips are longer
    monkeypatch.setattr(cuts, "read_clip", lambda *a: (events.append("read"), read_clip(*a))[1])
    monkeypatch.setattr(features, "_encode", lambda waves: (events.append(f"encode {len(waves)}"), encode(waves))[1])
    np.testing.assert_array_equal(embedded(features, clips), expected)
    assert events == ["encode 2", "read", "encode 1", "read", "encode 1"]


@pytest.mark.parametrize(
    ("text", "function", "words"),
    [
        (None, "f", "cannot be imported: there is no module 'nowhere_at_all'"),
        ("import surely_not_installed", "f", "ModuleNotFoundError: No module named 'surely_not_installed'"),
        ("x = 1 / 0", "f", "the module raised ZeroDivisionError"),
        ("def (", "f", "the module raised SyntaxError"),
        ("import sys\nsys.exit(0)", "f", "it ends the interpreter when it is imported"),
        ("f = 1", "f", "has no function f"),
        (GOOD, "gone", "has no function gone"),
        ("def f(): return 3", "f", r"returns \(int\) has no method encode"),
        ("class f:\n def encode_frames(self, w, s): pass", "f", "only encode_frames; pooling 'model' needs encode"),
        ("class f:\n sample_rate = 'high'\n def encode(self, w, s): pass", "f", "sample_rate 'high'"),
        ("class f:\n sample_rate = 0\n def encode(self, w, s): pass", "f", "sample_rate 0"),
    ],
)
def test_what_cannot_be_used(write_module: Callable[[str], str], text: str | None, function: str, words: str) -> None:
    module = "nowhere_at_all" if text is None else write_module(text)
    with pytest.raises(UsageError, match=words) as caught:
        CustomFeatures(f"{module}:{function}")
    assert "\n" not in str(caught.value)


def test_pooling_needs_frames(write_module: Callable[[str], str]) -> None:
    module = write_module("class f:\n def encode(self, w, s): pass")
    with pytest.raises(UsageError, match="only encode; pooling 'mean' needs encode_frames"):
        CustomFeatures(f"{module}:f", pooling="mean")


def test_a_function_that_fails(write_module: Callable[[str], str]) -> None:
    module = write_module("def f(): raise OSError(2, 'No such file', 'weights.pt')")
    with pytest.raises(ByolaError, match=r"f of .*:f raised FileNotFoundError.*weights\.pt.*--debug") as caught:
        CustomFeatures(f"{module}:f")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('out of\\nmemory')", "raised RuntimeError: out of memory"),
        ("return None", r"gave a NoneType; an array of shape \(2, D\) was expected"),
        ("return np.zeros((3, 4))", r"gave a ndarray of shape \(3, 4\)"),
        ("return np.zeros((2, 4, 5))", r"of shape \(2, 4, 5\)"),
        ("return [np.zeros(3), np.zeros(4)]", "gave a list of length 2"),
        ("return [['a'], ['b']]", "gave a list of length 2"),
        ("return np.full((2, 4), np.nan)", r"not finite for .*\.wav"),
        ("return np.zeros((2, len(waves[0])))", "gave embeddings of .* numbers after some of"),
    ],
)
def test_results_that_are_none(write_module: Callable[[str], str], clips: list[Clip], body: str, words: str) -> None:
    module = write_module(f"import numpy as np\nclass E:\n def encode(self, waves, rate):\n  {body}\n")
    with pytest.raises(ByolaError, match=words) as caught:
        embedded(CustomFeatures(f"{module}:E", batch_size=2), [clip for clip in clips if clip is not clips[3]])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        "return np.zeros((2, 5))",
        "return [np.zeros((0, 3))] * 2",
        "return [np.zeros((4, 3))]",
        "return 1",
        "return ['a', 'b']",
    ],
)
def test_frames_that_are_none(write_module: Callable[[str], str], clips: list[Clip], body: str) -> None:
    module = write_module(f"import numpy as np\nclass E:\n def encode_frames(self, waves, rate):\n  {body}\n")
    with pytest.raises(ByolaError, match=r"a list of 2 arrays of shape \(T, D\), T at least 1, was expected"):
        embedded(CustomFeatures(f"{module}:E", pooling="mean"), clips[:2])
