"""Embedding folders of audio into a store: `byol-a embed`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

import byol_a
from byol_a.data.files import find_audio
from byol_a.data.report import FileReport
from byol_a.device import Precision
from byol_a.encoding import CHUNK_SECONDS, encode_long, encode_waves
from byol_a.errors import AudioError, ByolaError, UsageError
from byol_a.inputs import Loaded, LongFile, ahead, groups, load, read_ahead, wave_blocks
from byol_a.matrix import MatrixFormat
from byol_a.model import BYOLA
from byol_a.progress import Progress, format_duration
from byol_a.store import BAD_FILES, EmbeddingStore, export_store, read_store
from byol_a.store_writer import Piece, Stamp, StoreWriter
from byol_a.uncertainty import check_samples, over_samples
from byol_a.windows import Windows, windowed, windows_for

__all__ = ["EmbeddingStore", "embed", "read_store"]

WINDOWS_AT_ONCE, WINDOW_SECONDS_AT_ONCE = 512, 300.0


def embed(
    model: BYOLA,
    inputs: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    level: Literal["clip", "frame"] = "clip",
    window: float | None = None,
    hop: float | None = None,
    matrix_format: MatrixFormat = "npy",
    export: Literal["csv", "npz"] | None = None,
    batch_size: int = 32,
    precision: Precision = "float32",
    samples: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> EmbeddingStore:
    """Embed every audio file in `inputs` into a store, in bounded memory whatever their length and number.

    Rows name files by their absolute path. A store that is there is continued: files in it are skipped, and
    those that have changed since keep their old rows and are counted (`provenance["counts"]["changed_files"]`).
    Files that cannot be used are listed in its bad_files.csv and tried again next time.

    Args:
        model: what embeds, on the device where it is.
        inputs: files and folders.
        out: the store.
        level: `"clip"`, one row per file or window; `"frame"`, one row per frame.
        window: seconds; one clip embedding for every such window rather than for the whole file. Windows
            begin at multiples of `hop`. What remains at the end makes a shorter window if it is at least half
            a window; a file shorter than a window is one row.
        hop: seconds from one window to the next; `window` by default.
        matrix_format: of the matrix.
        export: also write the store as one `embeddings.csv` or `embeddings.npz` in it; see `export_store`.
        batch_size: the most clips or windows in one pass.
        precision: `"bf16"` runs the encoder in autocast.
        samples: K samples of variational weights, as in `BYOLA.encode`; a row is then (2 D,), the mean over the samples
            and after it the standard deviation. For clips and windows, not for frames.
        overwrite: start a store that is there anew.
        progress: whether to say how far it is.

    Raises:
        UsageError: for inputs that do not exist, options that do not fit together, another model's store, or
            one that another process is writing.
        ByolaError: if no file could be used.
    """
    windows = windows_for(level, window, hop, model.sample_rate)
    if batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {batch_size}")
    check_samples(model, samples)
    if samples is not None and level == "frame":
        raise UsageError("weight samples are taken of whole clips or windows: --samples goes with --level clip")
    report = FileReport()
    files = find_audio(map(os.path.abspath, inputs), report)  # one name for a file, wherever the command is run
    settings = {
        "model": model.fingerprint(),
        "level": level,
        "window_seconds": window,
        "hop_seconds": hop if hop is not None else window,
        "precision": precision,
        "format": matrix_format,
        "samples": samples,
    }
    about = {
        "frame_seconds": model.frame_seconds,
        "byol_a_version": byol_a.__version__,
        "model_config": model.config,
    }
    dim = model.embedding_dim if samples is None else 2 * model.embedding_dim
    with StoreWriter(out, settings, about, dim, overwrite) as store:
        stamps = {path: Stamp.of(path) for path in files}
        todo = [path for path in files if row_name(path) not in store.done]
        changed = sum(store.done.get(row_name(path), stamp) != stamp for path, stamp in stamps.items())
        # Bad files of earlier runs stay in the account unless they are tried again now.
        tried = set(map(str, files))
        report.extend(
            (path, reason) for path, reason in FileReport.read(Path(out) / BAD_FILES).items() if path not in tried
        )

        job = _Job(model, level, windows, batch_size, precision, samples)
        seconds = 0.0
        loaded = read_ahead(lambda path: load(path, model.sample_rate, str(path)), todo)
        with Progress("embedding", total=len(files), enabled=progress, start=len(files) - len(todo)) as bar:
            for group in ahead(groups(loaded, model.sample_rate, model.device.type)):
                for path, audio, pieces in job.embed_group(group):
                    try:
                        store.add(row_name(path), stamps[path], pieces)
                        seconds += _n_samples(audio) / model.sample_rate
                    except AudioError as error:
                        report.add(path, error.reason)
                    bar.advance(1, audio=format_duration(seconds))
        report.write(Path(out) / BAD_FILES)
        if not store.done:
            raise ByolaError(f"no file could be embedded: {report.summary(len(files))}; see {Path(out) / BAD_FILES}")
        finished = store.finish(len(report), changed)
        if export is not None:
            export_store(finished, Path(out) / f"embeddings.{export}")
    return finished


@dataclass(frozen=True)
class _Job:
    """How files become rows."""

    model: BYOLA
    level: Literal["clip", "frame"]
    windows: Windows | None
    batch_size: int
    precision: Precision
    samples: int | None

    def embed_group(self, group: Sequence[tuple[Path, Loaded]]) -> Iterator[tuple[Path, Loaded, Iterator[Piece]]]:
        """Each file of a group with its rows; reading those of a file that is bad raises `AudioError`."""
        spans = {
            path: self.windows.spans(len(audio)) if self.windows else [(0, len(audio))]
            for path, audio in group
            if isinstance(audio, np.ndarray)
        }
        # All clips or windows of the group together, so that batches are full and of similar lengths.
        waves = [audio[a:b] for path, audio in group if isinstance(audio, np.ndarray) for a, b in spans[path]]
        encoded = iter(self._encode(waves))
        for path, audio in group:
            if isinstance(audio, np.ndarray):
                rows = [next(encoded) for _ in spans[path]]
                yield path, audio, iter([self._piece(spans[path], rows, len(audio))])
            elif isinstance(audio, LongFile):
                yield path, audio, self._long(audio)
            else:
                yield path, audio, _raise(audio)

    def _encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        return self._rows(partial(encode_waves, self.model, waves, self.level, self.batch_size, self.precision))

    def _rows(self, encode: Callable[[], list[list[np.ndarray]]]) -> list[np.ndarray]:
        """What `encode` gives; of weight samples mean and standard deviation, one after the other."""
        rows = over_samples(self.model, self.samples, encode)
        return [row if self.samples is None else row.reshape(-1) for (row,) in rows]

    def _piece(self, spans: list[tuple[int, int]], rows: list[np.ndarray], n_samples: int) -> Piece:
        if self.level == "frame":
            return self._frames(0, rows[0], n_samples)
        start, end = np.array(spans, dtype=np.float64).T / self.model.sample_rate
        return start, end, np.stack(rows)

    def _frames(self, first: int, frames: np.ndarray, n_samples: int) -> Piece:
        start = (first + np.arange(len(frames))) * self.model.frame_seconds
        end = np.minimum(start + self.model.frame_seconds, n_samples / self.model.sample_rate)
        return start, end, frames

    def _long(self, audio: LongFile) -> Iterator[Piece]:
        if self.windows is not None:
            yield from self._long_windows(audio, self.windows)
        elif self.level == "clip":
            rows = self._rows(lambda: [encode_long(self.model, audio.path, "clip", self.precision)])
            yield self._piece([(0, audio.samples)], rows, audio.samples)
        else:
            first = 0
            for frames in self.model.iter_frames(audio.path, CHUNK_SECONDS, self.precision):
                yield self._frames(first, frames, audio.samples)
                first += len(frames)

    def _long_windows(self, audio: LongFile, windows: Windows) -> Iterator[Piece]:
        blocks = wave_blocks(audio.path, self.model.sample_rate, CHUNK_SECONDS)
        at_once = WINDOW_SECONDS_AT_ONCE * self.model.sample_rate
        spans: list[tuple[int, int]] = []
        waves: list[np.ndarray] = []
        for span, wave in windowed(blocks, windows.spans(audio.samples)):
            spans.append(span)
            waves.append(wave)
            if len(waves) >= WINDOWS_AT_ONCE or sum(map(len, waves)) >= at_once:
                yield self._piece(spans, self._encode(waves), audio.samples)
                spans, waves = [], []
        if waves:
            yield self._piece(spans, self._encode(waves), audio.samples)


def row_name(path: Path) -> str:
    """A path as it stands in the rows; bytes that are no UTF-8, which Parquet cannot hold, as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", errors="backslashreplace")


def _n_samples(audio: Loaded) -> int:
    if isinstance(audio, LongFile):
        return audio.samples
    return len(audio) if isinstance(audio, np.ndarray) else 0


def _raise(error: AudioError) -> Iterator[Piece]:
    raise error
    yield  # pragma: no cover - makes this a generator
