"""What commands import: what is wrong is said before torch is there, and embed takes nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from byol_a import arrow
from byol_a.arrow import number_column, text_column
from byol_a.cli import cli
from byol_a.errors import ByolaError, UsageError
from byol_a.model_folder import check_model, read_config
from byol_a.windows import Windows, check_windows, windows_for

pa = pytest.importorskip("pyarrow")

ANYTHING_HEAVY = ("torch", "numpy", "scipy", "sklearn", "librosa", "soundfile", "soxr", "pyarrow", "pydantic", "pandas")
NOT_FOR_EMBED = (
    *("scipy", "sklearn", "librosa", "nnAudio", "torchaudio", "matplotlib", "pandas", "pydantic", "yaml", "joblib"),
    *("huggingface_hub", "byol_a.training", "byol_a.methods", "byol_a.augment", "downstream"),
)
PROBE = """
import sys
from byol_a.cli import main
try:
    main(sys.argv[2:])
except SystemExit as end:
    code = end.code
print("\\n", code, *[name for name in sys.argv[1].split(",") if name in sys.modules], file=sys.stderr)
"""


def imported(watched: tuple[str, ...], *arguments: object, cwd: Path | None = None) -> tuple[int, set[str], str]:
    """Exit code of `byol-a ...`, the `watched` modules that it imported, and what it said on standard error."""
    line = [sys.executable, "-c", PROBE, ",".join(watched), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=cwd)
    said, _, last = done.stderr.strip().rpartition("\n")
    code, *names = last.split()
    return int(code), set(names), said.rstrip()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from byol_a import BYOLA, FrontendConfig, NormStats

    folder = tmp_path_factory.mktemp("models") / "model"
    options = {"hidden_dim": 8, "channels": 4}
    BYOLA("AudioNTT2022", options, FrontendConfig(), NormStats(-7.0, 4.0)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["--version", "", *cli.list_commands(click.Context(cli))])
def test_help_imports_nothing_heavy(name: str) -> None:
    arguments = [name] if name == "--version" else [*name.split(), "--help"]
    code, names, _ = imported(ANYTHING_HEAVY, *arguments)
    assert (code, names) == (0, set())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pretrian", "did you mean 'pretrain'"),
        ("embed --frob", "--frob"),
        ("embed none sounds --out new", "no model folder none"),
        ("embed sounds sounds --out new", "no config.json"),
        ("embed MODEL none --out new", "none does not exist"),
        ("embed MODEL sounds --out sounds", "exists already"),
        ("embed MODEL sounds --out new --hop 1", "a hop needs a window"),
        ("embed MODEL sounds --out new --window 0", "positive lengths"),
        ("embed MODEL sounds --out new --window nan", "positive lengths"),
        ("embed MODEL sounds --out new --batch-size 0", "--batch-size"),
        ("embed MODEL sounds --out new --samples 1", "--samples"),
        ("pretrain", "give --out"),
        ("pretrain --out new", "give --data"),
        ("pretrain --out new --data none", "none does not exist"),
        ("pretrain --out new --data synth --data sounds", "synth, which is synthesised sound, goes alone"),
        ("pretrain --out sounds --data sounds", "exists already"),
        ("pretrain --out new --data synth --recipe byol_v2", "did you mean 'byola_v2'"),
        ("pretrain --resume", "--resume needs --out"),
        ("pretrain --resume --out sounds", "no pre-training run"),
        ("export sounds --out new", "no pre-training run"),
        ("import-weights none --stats 0 1 --out new", "no file none"),
        ("import-weights sounds/a.wav --stats 0 1 --out sounds", "exists already"),
        ("scan none --out new.parquet", "none does not exist"),
        ("pack none --out new", "none does not exist"),
        ("recipes none", "no recipe 'none'"),
        ("tasks none", "no recipe 'none'"),
        ("evaluate none --task esc50 --data sounds", "no model folder none"),
        ("evaluate MODEL --task none --data sounds", "no recipe 'none'"),
        ("evaluate MODEL --task esc50 --data none", "none is not a folder"),
        ("evaluate MODEL --task esc50 --data sounds --layer last", "--layer last"),
        ("benchmark MODEL", "below which folder"),
        ("benchmark MODEL --data none", "none is not a folder"),
        ("compare byola_v2 --data none --out new", "none does not exist"),
        ("compare nosuch --data sounds --out new", "no recipe 'nosuch'"),
        ("compare byol_v2:method.tau=0.9 --data sounds --out new", "did you mean 'byola_v2'"),
        ("report sounds", "holds no results"),
        ("demo --out sounds", "exists already"),
    ],
)
def test_what_is_wrong_is_said_before_torch_is_imported(line: str, said: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "a.wav").write_bytes(b"RIFF")
    arguments = [str(model) if word == "MODEL" else word for word in line.split()]
    code, names, error = imported(("torch",), *arguments, cwd=tmp_path)
    assert code == 2 and not names
    assert said in error and error.startswith("byol-a: error: ") and error.count("\n") == 0


def test_embed_imports_what_it_needs_alone(model: Path, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    given = ["embed", model, tmp_path / "a.wav", "--out", tmp_path / "store", "--device", "cpu"]
    for _ in ("made", "continued"):
        code, names, _ = imported(("torch", *NOT_FOR_EMBED), *given)
        assert (code, names) == (0, {"torch"})


def test_a_model_folder_is_looked_at_without_its_weights(model: Path, tmp_path: Path) -> None:
    check_model(model)
    check_model("someone/model")  # may be on the hub
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ByolaError, match="cannot be read as JSON"):
        check_model(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "else"}')
    with pytest.raises(UsageError, match="does not describe a byol-a model"):
        read_config(tmp_path)


def test_windows_are_checked_as_they_are_made() -> None:
    assert windows_for("clip", 1.5, None, 16_000) == Windows(24_000, 24_000)
    assert windows_for("clip", 1.5, 0.5, 16_000) == Windows(24_000, 8_000)
    assert windows_for("frame", None, None, 16_000) is None
    for window, hop in ((0.0, None), (float("inf"), None), (1.0, 0.0), (1.0, float("nan"))):
        with pytest.raises(UsageError, match="positive lengths"):
            check_windows("clip", window, hop)
    check_windows("clip", 1e-6, None)
    with pytest.raises(UsageError, match="positive lengths"):
        windows_for("clip", 1e-6, None, 16_000)  # less than a sample


def test_columns_are_those_that_arrow_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a", "", "Straße/雨.wav", "a"]
    assert text_column(texts).to_pylist() == texts and text_column(texts).type == pa.string()
    assert len(text_column([])) == 0
    monkeypatch.setattr(arrow, "_MOST_BYTES", 10)
    text_column(["long" * 2, "er"])
    with pytest.raises(AssertionError, match="too long for one array"):
        text_column(["long" * 2, "est"])
    for kind in ("int64", "float64"):
        numbers = np.arange(12, dtype=kind)[::3]
        column = number_column(numbers, kind)
        column.validate(full=True)
        assert column.equals(pa.array(numbers))
        numbers[:] = 0  # the column has memory of its own
        assert column.to_pylist() == [0, 3, 6, 9]
    assert number_column([], "int64").equals(pa.array([], pa.int64()))
