"""The folder of one run: where its configuration, file list, metrics, checkpoints and model are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byol_a.config import build, read_yaml, to_yaml
from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_file, write_json
from byol_a.lock import WriterLock
from byol_a.older import with_present_names

if TYPE_CHECKING:
    from byol_a.training.clip_list import ClipList
    from byol_a.training.config import PretrainConfig


class RunFolder:
    """Paths inside a run's folder, and the files that describe the run.

    config.yaml       the resolved configuration
    run.json          what the run reads and how it was started
    clips.parquet     the clips, as an index: a resumed run sees the same ones in the same order
    metrics.jsonl     one JSON object for each logged step
    bad_files.csv     files that could not be used, and why
    checkpoints/      last.pt, the one before it in previous.pt, and step-N.pt where asked for
    training.png      loss and collapse meter
    model/            the exported model
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.run_file = self.path / "run.json"
        self.clips_index = self.path / "clips.parquet"
        self.metrics = self.path / "metrics.jsonl"
        self.bad_files = self.path / "bad_files.csv"
        self.checkpoints = self.path / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.pt"
        self.plot = self.path / "training.png"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model"
        self.lock_file = self.path / ".lock"

    def refuse_existing(self) -> None:
        """Raise `UsageError` where the folder holds anything but what a run killed while it was created left."""
        created = {self.clips_index, self.run_file, self.checkpoints, self.lock_file}
        if self.path.exists() and (not self.path.is_dir() or {*self.path.iterdir()} - {*self._partial()} - created):
            raise UsageError(
                f"{self.path} exists already; continue that run with --resume, or choose another folder with --out"
            )

    def create(self, config: PretrainConfig, clips: ClipList | None, description: dict[str, Any]) -> None:
        """Write the files that say what the run is; config.yaml last, so that its presence means all are there."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        store = None
        if clips is not None:
            clips.index.write(self.clips_index)
            if clips.store is not None:
                store = {"path": clips.store, "checksum": clips.store_checksum}
        write_json(self.run_file, {**description, "store": store})
        self.write_config(config)

    def writing(self) -> WriterLock:
        """What the main process of a run holds while it works on it, so that no other run does."""
        return WriterLock(
            self.lock_file, f"another process is training the run in {self.path}; wait for it, or end it first"
        )

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
        from byol_a.training.config import PretrainConfig  # it imports torch

        return build(PretrainConfig, with_present_names(read_yaml(self.config_file)), str(self.config_file))

    def description(self) -> dict[str, Any]:
        """What run.json says."""
        try:
            value: dict[str, Any] = json.loads(self.run_file.read_text(encoding="utf-8"))
            store = value.get("store") or {"path": "", "checksum": ""}
            good = all(isinstance(text, str) for text in (value["data_fingerprint"], store["path"], store["checksum"]))
        except (AttributeError, ValueError, LookupError, TypeError, RecursionError):
            good = False
        if not good:
            raise ByolaError(f"{self.run_file} does not describe a run any more; put it back, or start a new run")
        return value

    def clips(self) -> ClipList | None:
        """The run's clips in order; None for synthesised sounds.

        Raises:
            ByolaError: if the list of them is gone or damaged.
        """
        from byol_a.data.files import SYNTH
        from byol_a.data.index import AudioIndex
        from byol_a.training.clip_list import ClipList

        description = self.description()
        if description["data_fingerprint"] == SYNTH:
            return None
        store = description.get("store") or {}
        try:
            index = AudioIndex.read(self.clips_index)
        except ByolaError as error:
            raise ByolaError(
                f"the run's list of clips, {self.clips_index}, is gone or damaged; put it back, or start a new run"
            ) from error
        clips = ClipList(index, store.get("path"), store.get("checksum"))
        if clips.fingerprint != description["data_fingerprint"]:
            raise ByolaError(f"{self.clips_index} is not the list of clips that the run began with; start a new run")
        return clips

    def remove_partial_files(self) -> None:
        """Delete what a process left that was killed while it wrote something."""
        for partial in self._partial():
            if partial.is_dir():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)

    def _partial(self) -> list[Path]:
        """What `byol_a.files` had begun to write, or had put aside in order to replace it."""
        patterns = (".*.partial", ".*.retired", "checkpoints/.*.partial")
        return [path for pattern in patterns for path in self.path.glob(pattern)]
