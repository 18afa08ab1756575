"""The sounds that all runs of a comparison share: packed once, measured once, some of them held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from byol_a.data.clips import StoreClips
from byol_a.data.crops import RandomCrops
from byol_a.data.store.audio_store import BAD_FILES, AudioStore, is_store
from byol_a.data.store.pack import pack
from byol_a.errors import ByolaError, UsageError
from byol_a.frontend import LogMel
from byol_a.interrupt import Interrupted
from byol_a.normalize import NormStats
from byol_a.training.clip_list import ROW, ClipList, checksum_of, gather_clips
from byol_a.training.config import PretrainConfig
from byol_a.training.distributed import Processes
from byol_a.training.sources import ClipSource
from byol_a.words import one_line

HELD_OUT_SHARE, MOST_HELD_OUT, LEAST_HELD_OUT = 0.1, 512, 2
CROP_SEED = 0


class Corpus:
    """Clips to learn from, and clips that no run learns from.

    A tenth of the clips is held out, at most 512: those whose names below their root have the smallest digests, so
    that the choice stays the same wherever the data lie.

    Args:
        data: audio files and folders, or an index, which are packed below `folder`; or a store, which is read in place.
        folder: where to pack.
        device: where statistics are computed.
        say: is told of files that are left out.
    """

    def __init__(
        self, data: Sequence[Path], folder: Path, device: torch.device, say: Callable[[str], None] = print
    ) -> None:
        self._data, self._folder, self._say = list(data), folder, say
        self._processes = Processes(0, 1, device)
        self._stores: dict[int, AudioStore] = {}
        self._stats: dict[str, NormStats] = {}
        self._crops: dict[tuple[int, int, str], Tensor] = {}
        self._held_out: dict[int, np.ndarray] = {}
        self._learned: dict[str, ClipList] = {}

    def store(self, sample_rate: int) -> AudioStore:
        """The packed clips at a rate in Hz.

        Raises:
            UsageError: if there are too few, or a store that was given has another rate.
            ByolaError: if the data cannot be packed.
            Interrupted: after SIGINT or SIGTERM; the same call goes on.
        """
        if sample_rate not in self._stores:
            self._stores[sample_rate] = store = self._open(sample_rate)
            if len(store) < 2 * LEAST_HELD_OUT:
                raise UsageError(f"there are {len(store)} clips in the data, too few to hold some out; give more")
        return self._stores[sample_rate]

    def fingerprint(self, sample_rate: int) -> str:
        """What tells the sounds from others."""
        return checksum_of(self.store(sample_rate))

    def held_out_rows(self, sample_rate: int) -> np.ndarray:
        """Places in the store of the clips that are held out, increasing."""
        if sample_rate not in self._held_out:
            self._held_out[sample_rate] = self._choose(sample_rate)
        return self._held_out[sample_rate]

    def training_clips(self, config: PretrainConfig) -> ClipList:
        """What a run learns from: the clips that its own filter lets through, without those held out.

        Raises:
            UsageError: if that leaves none.
        """
        rate = config.frontend.sample_rate
        of_what = repr((rate, config.data.filter, config.data.sampling, config.data.labels))
        if of_what in self._learned:
            return self._learned[of_what]
        clips, _ = gather_clips([self.store(rate).folder], config.data, self._processes)
        learned = ~np.isin(clips.index.array(ROW), self.held_out_rows(rate))
        if not learned.any():
            raise UsageError("the data filter leaves no clip but those held out; loosen data.filter")
        self._learned[of_what] = replace(clips, index=clips.index.take(learned))
        return self._learned[of_what]

    def held_out_crops(self, config: PretrainConfig) -> Tensor:
        """One crop of each clip that is held out, int16 (N, S); the same for every run with crops of this length."""
        rate, samples, pad = config.frontend.sample_rate, config.crop_samples, config.data.pad
        if (rate, samples, pad) not in self._crops:
            rows = self.held_out_rows(rate)
            crops = RandomCrops(StoreClips(self.store(rate), rows), samples, rate, CROP_SEED, pad)
            self._crops[rate, samples, pad], _ = crops.batch([(0, place) for place in range(len(rows))])
        return self._crops[rate, samples, pad]

    def statistics(self, config: PretrainConfig) -> NormStats:
        """Log-mel statistics of the clips learned from; measured once for all runs with the same crops of them."""
        config = replace(config, training=replace(config.training, seed=0))
        of_what = repr((config.frontend, config.data, config.normalization.crops))
        if of_what not in self._stats:
            source = ClipSource(self.training_clips(config), config, self._processes)
            frontend = LogMel(config.frontend).to(self._processes.device)
            self._stats[of_what] = source.statistics(frontend, config.normalization.crops)
        return self._stats[of_what]

    def _choose(self, sample_rate: int) -> np.ndarray:
        index = self.store(sample_rate).index
        digests = [hashlib.blake2b(index.path_bytes(row), digest_size=8).digest() for row in range(len(index))]
        count = min(MOST_HELD_OUT, max(LEAST_HELD_OUT, int(HELD_OUT_SHARE * len(index))))
        chosen = sorted(range(len(index)), key=lambda row: (digests[row], row))[:count]
        return np.asarray(sorted(chosen), dtype=np.int64)

    def _open(self, sample_rate: int) -> AudioStore:
        if len(self._data) != 1 or not is_store(self._data[0]):
            return self._pack(sample_rate)
        store = AudioStore.open(self._data[0])
        if store.sample_rate != sample_rate:
            raise UsageError(
                f"{self._data[0]} holds sound at {store.sample_rate} Hz, and a recipe takes {sample_rate}; pack it "
                f"again with --rate {sample_rate}"
            )
        return store

    def _pack(self, sample_rate: int) -> AudioStore:
        """Pack what can be read; what cannot is left out and counted, as in pre-training."""
        place = self._folder / f"{sample_rate}-hz"
        try:
            packed = pack(self._data, place, sample_rate, skip_unreadable=True)
        except Interrupted as stop:
            raise Interrupted(
                f"stopped while sounds were packed into {place}; what is packed is kept, and the same command goes on",
                stop.exit_code - 128,
            ) from stop
        except ByolaError as error:
            what, _, advice = one_line(error).partition("; ")
            # What would help `byol-a pack` is not for this command.
            is_for_packing = any(word in advice for word in ("byol-a pack", "pack with", "--out", "--skip-unreadable"))
            reason = what if is_for_packing else one_line(error)
            kind = UsageError if isinstance(error, UsageError) else ByolaError
            raise kind(
                f"the sounds of a comparison are packed first, and could not be: {reason}; mend that, and the same "
                f"command goes on (or delete {place} to pack anew)"
            ) from error
        if len(packed.report):
            self._say(f"{packed.report.summary()}; see {place / BAD_FILES}")
        return packed.store
