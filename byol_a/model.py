"""The model users hold: encoder, front-end and normalisation in one, saved as one folder."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from byol_a.encoders import ENCODERS, create_encoder
from byol_a.errors import ByolaError, UsageError
from byol_a.files import atomic_folder
from byol_a.frontend import FrontendConfig, LogMel
from byol_a.hub import fetch, refuse_unknown, upload
from byol_a.kernels import Fast, decide
from byol_a.model_folder import CARD, CONFIG, FORMAT, FORMAT_VERSION, WEIGHTS, local_folder, read_config
from byol_a.modelcard import model_card
from byol_a.normalize import NormStats, PreNorm
from byol_a.words import one_line

if TYPE_CHECKING:
    from byol_a.device import Precision
    from byol_a.encoding import Level, OnError
    from byol_a.inputs import AudioInput
    from byol_a.pooling import Pooling


class BYOLA(nn.Module):
    """An audio encoder with everything it needs to take raw audio.

    Args:
        encoder: encoder name, as `create_encoder` takes it.
        encoder_options: the encoder's own options.
        frontend: how audio becomes log-mels; `frontend.n_mels` is the encoder's input size.
        normalization: mean and standard deviation of the training set's log-mels.
        licence: of the weights.
        provenance: where the weights come from (method, data, steps); any JSON.

    Attributes:
        frontend: `LogMel`, waves (B, S) to log-mels (B, F, T).
        normalize: `PreNorm`.
        encoder: `AudioEncoder`, normalised log-mels (B, 1, F, T) to embeddings.
    """

    def __init__(
        self,
        encoder: str,
        encoder_options: dict[str, Any],
        frontend: FrontendConfig,
        normalization: NormStats,
        licence: str | None = None,
        provenance: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder_name, self.encoder_options = encoder, dict(encoder_options)
        self.normalization, self.licence, self.provenance = normalization, licence, dict(provenance or {})
        self.frontend = LogMel(frontend)
        self.normalize = PreNorm(normalization)
        # Channels side by side is the layout that convolutions are several times faster in.
        self.encoder = create_encoder(encoder, n_mels=frontend.n_mels, **encoder_options)
        self.encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def sample_rate(self) -> int:
        """Sample rate of the waves the model takes, in Hz."""
        return self.frontend.config.sample_rate

    @property
    def embedding_dim(self) -> int:
        """D, the size of an embedding."""
        return self.encoder.embedding_dim

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame embedding to the next."""
        return self.encoder.frame_stride * self.frontend.config.hop_seconds

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.encoder.parameters()).device

    @property
    def config(self) -> dict[str, Any]:
        """What config.json holds: with the weights, all that makes the model."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "encoder": {"name": self.encoder_name, "options": self.encoder_options},
            "frontend": self.frontend.identity(),
            "normalization": {"mean": self.normalization.mean, "std": self.normalization.std},
            "licence": self.licence,
            "provenance": self.provenance,
        }

    def forward(self, wave: Tensor) -> Tensor:
        """Clip embeddings (B, D) of waves (B, S) at the model's sample rate; differentiable."""
        embeddings: Tensor = self.encoder(self.encoder_input(self.frontend(wave)))
        return embeddings

    def encoder_input(self, log_mel: Tensor) -> Tensor:
        """Log-mels (B, F, T) normalised and laid out as the encoder takes them, (B, 1, F, T)."""
        x: Tensor = self.normalize(log_mel).unsqueeze(1)
        return x.contiguous(memory_format=torch.channels_last)

    def encode(
        self,
        inputs: AudioInput | Sequence[AudioInput],
        batch_size: int = 32,
        level: Level = "clip",
        show_progress: bool | None = None,
        convert_to: Literal["numpy", "tensor"] = "numpy",
        device: str | torch.device | None = None,
        on_error: Literal["raise"] | OnError = "raise",
        precision: Precision = "float32",
        pooling: Pooling = "model",
        samples: int | None = None,
    ) -> Any:
        """Embeddings of audio of any lengths; no clip's result depends on the others.

        Runs in evaluation mode and leaves the model's training flags as they were. Clips too short for one
        frame are padded with zeros at the end. Audio longer than a minute is taken in pieces, with the same
        result in bounded memory; only encoders that see whole clips (timm's, and those with layer or group norm)
        then see each piece as one.

        Args:
            inputs: one of, or a sequence of: a path; an array or tensor (S,) at the model's sample rate; a
                pair (array (S,) or (S, channels), sample rate), which is mixed down and resampled. Integers
                are scaled from their type's range to [-1, 1].
            batch_size: the most clips in one pass.
            level: `"clip"`, `"frame"`, or `"layers"` (time-pooled features of each layer of the encoder).
            show_progress: whether to show a bar; None shows one for more than `batch_size` inputs if standard
                error is a terminal.
            convert_to: `"numpy"` or `"tensor"` (on the CPU); float32 (float64 if the model is).
            device: moves the model there first.
            on_error: `"raise"`, or a function called with (path or `input <n>`, `AudioError`) for each
                input that cannot be used; its embedding is then NaN (clip, layers) or has no frames (frame).
            precision: `"bf16"` runs the encoder in autocast.
            pooling: how frames become a clip's (or a layer's) features: `"mean"`, `"max"` or `"mean+max"` (their
                sum) over time, or what the encoder does by itself, `"model"`: the sum, in every encoder so far.
            samples: K samples of variational weights (see `byol_a.encoders.variational`) instead of their means, at
                K times the cost; the same samples for every input and every call.

        Returns:
            clip: (N, D); frame: a list of N (T', D); layers: a list over layers of (N, D_l). For a single
            input: (D,); (T', D); a list of (D_l,). With `samples` a pair of these: the mean over the samples, and
            the standard deviation (over K - 1), which tells how sure the model is. It grows with the embedding's own
            size, so clips are compared by its norm over that of the mean.

        Raises:
            AudioError: for an input that cannot be used, unless `on_error` is a function.
            UsageError: for an input of another kind; for fewer than 2 samples, or of weights that have no deviation.
        """
        from byol_a.encoding import encode

        how = (batch_size, level, show_progress, convert_to, device, on_error, precision, pooling, samples)
        return encode(self, inputs, *how)

    def use_fast(self, fast: Fast = "auto") -> str | None:
        """Choose how embeddings are computed: by the device's kernels where it has some (`"auto"`, as from the start),
        by them in any case (`"on"`), or by torch's layers (`"off"`). They agree to float32's rounding.

        On a CPU the kernels are compiled for the processor when they are first asked for, and kept.

        Returns:
            What there is to say where this encoder would have had kernels on another device or machine.

        Raises:
            UsageError: with `"on"`, if there is an obstacle.
        """
        obstacle = None if fast == "off" else self.encoder.obstacle(self.device)
        _, remark = decide(fast, obstacle)
        self.encoder.fast = fast != "off"  # an obstacle of this device may be none of the next
        self.frontend.fast = fast != "off"
        return remark if self.encoder.has_fast_path else None

    def iter_frames(
        self,
        source: str | Path | np.ndarray | Tensor,
        chunk_seconds: float = 30.0,
        precision: Precision = "float32",
    ) -> Iterator[np.ndarray]:
        """Frame embeddings of audio of any length, a piece (t, D) at a time, in bounded memory.

        The pieces together equal the frame embeddings of the whole. (An encoder that sees whole clips, see
        `encode`, takes each piece as a clip of its own.)

        Args:
            source: a path, or a wave (S,) at the model's sample rate.
            chunk_seconds: length of a piece.
            precision: as in `encode`.

        Raises:
            AudioError: if the file cannot be read, at the latest when the fault is reached.
        """
        from byol_a.inputs import wave_blocks
        from byol_a.streaming import stream_frames

        blocks = wave_blocks(source, self.sample_rate, chunk_seconds)
        for (frames,) in stream_frames(self, blocks, chunk_seconds, precision=precision):
            yield frames.cpu().numpy()

    def fingerprint(self) -> str:
        """32 hexadecimal digits of the weights and of everything in the config that changes embeddings."""
        digest = hashlib.blake2b(digest_size=16)
        matters = {key: self.config[key] for key in ("encoder", "frontend", "normalization")}
        digest.update(json.dumps(matters, sort_keys=True).encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def with_normalization(self, normalization: NormStats) -> BYOLA:
        """The same model with other log-mel statistics, say a task's own; the encoder is shared, not copied."""
        model = copy.copy(self)
        model.__dict__["_modules"] = dict(self._modules)  # the copy's own, so that one of them can be replaced
        model.normalization = normalization
        model.normalize = PreNorm(normalization).to(self.normalize.mean)
        return model

    def with_random_weights(self, seed: int) -> BYOLA:
        """The same model with new random weights drawn from `seed`: the control of an evaluation."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
            model = BYOLA(
                self.encoder_name,
                self.encoder_options,
                self.frontend.config,
                self.normalization,
                provenance={"method": "random weights", "seed": seed},
            )
        model.encoder.fast, model.frontend.fast = self.encoder.fast, self.frontend.fast
        return model.to(self.device).train(self.training)

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        overwrite: bool = False,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **hub_options: Any,
    ) -> str | None:
        """Write the model folder: config.json, model.safetensors and a model card; all or nothing.

        Args:
            save_directory: the folder to make.
            overwrite: replace a model folder that is there.
            push_to_hub: upload it afterwards as `repo_id` (the folder's name by default), with `hub_options`
                as `push_to_hub` takes them; returns the commit's address.

        Raises:
            UsageError: if there is something at `save_directory`, except a model with `overwrite` true; if
                `push_to_hub` takes no such option.
        """
        from safetensors.torch import save_file

        refuse_unknown(hub_options, "save_pretrained")
        folder = Path(save_directory)
        foreign = folder.exists() and not (folder / CONFIG).is_file()
        if overwrite and foreign and not (folder.is_dir() and not any(folder.iterdir())):
            raise UsageError(f"{folder} is not a model folder, so --overwrite does not replace it")
        with atomic_folder(folder, overwrite) as partial:
            text = json.dumps(self.config, indent=2, ensure_ascii=False)
            # As in `write_json`: provenance may name files that are not UTF-8.
            (partial / CONFIG).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
            state = {name: tensor.contiguous() for name, tensor in self.encoder.state_dict().items()}
            save_file(state, partial / WEIGHTS, metadata={"format": "pt"})
            card = model_card(self.config, self.embedding_dim)
            (partial / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
        if push_to_hub:
            return self.push_to_hub(repo_id or folder.name, **hub_options)
        return None

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model folder to the Hugging Face hub as `repo_id`; returns the commit's address.

        Args:
            options: see `byol_a.hub.upload` (commit_message, private, token, branch, create_pr, allow_patterns,
                ignore_patterns, delete_patterns).

        Raises:
            UsageError: for another option.
        """
        refuse_unknown(options, "push_to_hub")
        return upload(self.save_pretrained, repo_id, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str | torch.device = "cpu",
    ) -> BYOLA:
        """Load a model folder, or fetch one from the Hugging Face hub; never runs code that comes with it.

        Args:
            pretrained_model_name_or_path: a folder, or a hub id (`"name/model"`).
            force_download, token, cache_dir, local_files_only, revision: as in huggingface_hub; unused for a
                folder.
            device: where to put the model.

        Returns:
            The model in evaluation mode.

        Raises:
            UsageError: if there is no such folder, or it is not a model folder.
            ByolaError: if its files are damaged or from a newer format, or the hub does not give it.
        """
        folder = local_folder(pretrained_model_name_or_path)
        if folder is None:
            folder = fetch(
                str(pretrained_model_name_or_path),
                [CONFIG, WEIGHTS],
                force_download=force_download,
                token=token,
                cache_dir=cache_dir,
                local_files_only=local_files_only,
                revision=revision,
            )
        return load_model(folder, cls).to(device).eval()


def load_model(folder: Path, model_class: type[BYOLA] = BYOLA) -> BYOLA:
    """The model in a folder; see `BYOLA.from_pretrained`."""
    config, weights = read_config(folder), _read_weights(folder / WEIGHTS)
    try:
        encoder, frontend = config["encoder"], FrontendConfig.from_identity(config["frontend"])
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced: leave no trace
            if encoder["name"] in ENCODERS:
                # Without memory at first: a config.json may ask for a network that fits into none.
                with torch.device("meta"):
                    shell = create_encoder(encoder["name"], n_mels=frontend.n_mels, **encoder["options"])
                _put_weights(shell, weights, folder, assign=True)
            model = model_class(
                encoder["name"],
                encoder["options"],
                frontend,
                NormStats(**{key: float(config["normalization"][key]) for key in ("mean", "std")}),
                licence=config["licence"],
                provenance=config["provenance"],
            )
    except ByolaError:
        raise
    except Exception as error:  # what a damaged value leads to depends on where it is used first
        raise ByolaError(f"{folder / CONFIG} is damaged: {type(error).__name__}: {one_line(error)[:300]}") from error
    _put_weights(model.encoder, weights, folder)
    return model


def _put_weights(encoder: nn.Module, weights: dict[str, Tensor], folder: Path, assign: bool = False) -> None:
    try:
        encoder.load_state_dict(weights, assign=assign)
    except RuntimeError as error:
        raise ByolaError(f"{folder / WEIGHTS} does not belong to this {CONFIG}: {one_line(error)[:300]}") from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())  # read here: safetensors takes no name that is not UTF-8
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        raise ByolaError(f"{path} is damaged: {one_line(error)[:300]}") from error
