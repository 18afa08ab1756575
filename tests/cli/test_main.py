"""The command line itself: quick, light, and one sentence for every error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import byol_a
from byol_a.cli import cli, main

HEAVY = (
    "torch",
    "numpy",
    "librosa",
    "nnAudio",
    "torchaudio",
    "soundfile",
    "soxr",
    "sklearn",
    "matplotlib",
    "pyarrow",
)


def run(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code is not None else ["-m", "byol_a"]
    line = [sys.executable, *start, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; from byol_a.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = run(code=script)
    assert done.stderr.strip() == "[]"
    for name in ("pretrain", "export", "embed", "evaluate", "import-weights", "recipes", "demo"):
        assert f"  {name} " in done.stdout


def test_importing_the_package_needs_no_audio_package() -> None:
    script = (
        "import sys\n"
        "for name in ('librosa', 'nnAudio', 'torchaudio', 'soundfile', 'soxr'): sys.modules[name] = None\n"
        "import byol_a; byol_a.BYOLA; byol_a.LogMel; byol_a.pretrain\n"
        "try: byol_a.read_audio(sys.argv[1])\n"
        "except byol_a.ByolaError as error: print(error)"
    )
    wav = Path(__file__)  # any file that exists
    done = run(str(wav), code=script)
    assert "soundfile" in done.stdout
    assert "pip install" in done.stdout
    assert done.returncode == 0, done.stderr


def test_version_and_module_entry() -> None:
    assert run("--version").stdout.strip().endswith(byol_a.__version__)


def test_an_unknown_command_names_its_neighbour() -> None:
    failed = run("pretrian")
    assert failed.returncode == 2
    assert failed.stderr == "byol-a: error: there is no command 'pretrian'; did you mean 'pretrain'?\n"


def test_debug_shows_a_traceback_and_nothing_else_does() -> None:
    assert "Traceback" not in run("pretrain", "--recipe", "x.yaml").stderr
    assert "Traceback" in run("pretrain", "--recipe", "x.yaml", "--debug").stderr


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    import click

    for name in cli.list_commands(click.Context(cli)):
        with pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        assert "Usage: byol-a" in capsys.readouterr().out


def test_recipes_are_listed_shown_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def recipes(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stopped:
            main(["recipes", *arguments])
        return int(stopped.value.code or 0)

    assert recipes() == 0
    assert "byola_v2" in capsys.readouterr().out
    assert recipes("byola_v1", "--out", str(tmp_path / "mine.yaml")) == 0
    assert "AudioNTT2020" in (tmp_path / "mine.yaml").read_text()
    assert recipes("byola_v1", "--out", str(tmp_path / "mine.yaml")) == 2
    assert "exists already" in capsys.readouterr().err
    assert recipes(str(tmp_path / "mine.yaml")) == 0  # a path will do as well
    assert "AudioNTT2020" in capsys.readouterr().out
    assert recipes(str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "copy.yaml")) == 0
    assert recipes("./gone.yaml") == 2 and "no recipe file ./gone.yaml" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_bytes(b"\xff")
    assert recipes(str(tmp_path / "bad.yaml")) == 2 and "is not text (UTF-8)" in capsys.readouterr().err


def test_recipes_of_every_kind_have_names_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from byol_a.recipes import KINDS, list_recipes

    names = [name for kind in KINDS for name in list_recipes(kind)]
    assert len(set(names)) == len(names)
    with pytest.raises(SystemExit):
        main(["recipes"])
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in names)
    with pytest.raises(SystemExit) as stopped:
        main(["recipes", "esc50", "--out", str(tmp_path / "mine.yaml")])
    assert not stopped.value.code and "title: ESC-50" in (tmp_path / "mine.yaml").read_text()
    with pytest.raises(SystemExit) as stopped:
        main(["recipes", "gtzna"])
    assert stopped.value.code == 2 and "did you mean 'gtzan'" in capsys.readouterr().err


def test_all_exported_names_resolve() -> None:
    for name in byol_a.__all__:
        assert getattr(byol_a, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = byol_a.nothing
