"""Implementations are imported when chosen, and their absence is said in a sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from byol_a.errors import MissingPackageError
from byol_a.frontend import FrontendConfig, LogMel


@pytest.mark.parametrize(
    ("name", "module"), [("nnaudio", "nnAudio"), ("torchaudio", "torchaudio"), ("librosa", "librosa")]
)
def test_a_missing_package_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for loaded in [key for key in sys.modules if key.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=f"pip install '{module}'"):
        LogMel(FrontendConfig(name=name))


def test_the_default_imports_no_other() -> None:
    program = (
        "import sys, torch; from byol_a.frontend import LogMel; LogMel()(torch.zeros(2000));"
        "print(sorted({'nnAudio', 'torchaudio', 'librosa', 'soundfile'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
