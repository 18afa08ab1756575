"""The folder of one run: where its configuration, file list, metrics, checkpoints and model are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from byol_a.config import build, read_yaml, to_yaml
from byol_a.errors import UsageError
from byol_a.files import atomic_file, write_json
from byol_a.training.config import PretrainConfig


class RunFolder:
    """Paths inside a run's folder, and the files that describe the run.

    config.yaml       the resolved configuration
    run.json          what the run reads and how it was started
    files.jsonl       the audio files, one JSON string a line: a resumed run sees the same ones in the same order
    metrics.jsonl     one JSON object for each logged step
    bad_files.csv     files that could not be used, and why
    checkpoints/      last.pt, and step-N.pt where asked for
    training.png      loss and collapse meter
    model/            the exported model
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.run_file = self.path / "run.json"
        self.files_list = self.path / "files.jsonl"
        self.metrics = self.path / "metrics.jsonl"
        self.bad_files = self.path / "bad_files.csv"
        self.checkpoints = self.path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.pt"
        self.plot = self.path / "training.png"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model"

    def refuse_existing(self) -> None:
        """Raise `UsageError` where the folder holds anything but what a run killed while it was created left."""
        created = {self.files_list, self.run_file, self.checkpoints}
        if self.path.exists() and (not self.path.is_dir() or not {*self.path.iterdir()} <= created):
            raise UsageError(
                f"{self.path} exists already; continue that run with --resume, or choose another folder with --out"
            )

    def create(self, config: PretrainConfig, files: list[Path], description: dict[str, Any]) -> None:
        """Write the files that say what the run is; config.yaml last, so that its presence means all are there."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        # JSON escapes what a file name may hold and a line may not: line ends, bytes that are not UTF-8.
        with atomic_file(self.files_list) as temporary, temporary.open("w", encoding="ascii") as stream:
            stream.writelines(f"{json.dumps(str(path))}\n" for path in files)
        write_json(self.run_file, description)
        self.write_config(config)

    def write_config(self, config: PretrainConfig) -> None:
        """Write config.yaml, the settings a resumed run starts from."""
        with atomic_file(self.config_file) as temporary:
            temporary.write_text(to_yaml(config), encoding="utf-8")

    def require(self) -> None:
        """Raise `UsageError` unless the folder holds a run."""
        if not self.config_file.is_file():
            raise UsageError(f"{self.path} holds no pre-training run (there is no {self.config_file.name} in it)")

    def config(self) -> PretrainConfig:
        """The configuration the run was started with."""
        self.require()
        return build(PretrainConfig, read_yaml(self.config_file), str(self.config_file))

    def description(self) -> dict[str, Any]:
        """What run.json says."""
        value: dict[str, Any] = json.loads(self.run_file.read_text(encoding="utf-8"))
        return value

    def files(self) -> list[Path]:
        """The run's audio files in order; empty for synthesised sounds."""
        with self.files_list.open(encoding="ascii") as stream:
            return [Path(json.loads(line)) for line in stream]

    def remove_partial_checkpoints(self) -> None:
        """Delete what a process left that was killed while it wrote a checkpoint."""
        for partial in self.checkpoints.glob(".*.partial"):
            partial.unlink(missing_ok=True)
