"""An encoder of one's own, named `module:function`: the function returns an object that has `encode`."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byol_a.errors import AudioError, ByolaError, UsageError
from byol_a.plugins import import_from_here
from byol_a.pooling import Pooling, check_pooling
from byol_a.words import one_line
from downstream.features.base import Piece, Row
from downstream.features.request import EmbeddingRequest

if TYPE_CHECKING:
    from byol_a.inputs import Loaded

DEFAULT_RATE = 16_000
_SAID: set[str] = set()  # of which encoders it was said that they have no fingerprint
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_custom(name: str) -> bool:
    """Whether a name reads as `module:function`."""
    return _NAME.fullmatch(name) is not None


class CustomFeatures:
    """Clip embeddings of an object that somebody wrote.

    The object has one or both of:

        encode(waves: list[np.ndarray], sample_rate: int) -> array (N, D)
        encode_frames(waves: list[np.ndarray], sample_rate: int) -> list of N arrays (T, D)

    `waves` are mono float32 (S,) in [-1, 1], each of its own length; arrays may be tensors. It may have `sample_rate`
    (of the waves it wants, 16000 otherwise), `name`, and `fingerprint`, a string that changes whenever its embeddings
    do. Without one, a digest of the module's file stands for it, which is said.

    Args:
        spec: `module:function`; the module is looked for in the working folder first. The function takes no arguments,
            or `device`.
        batch_size: the most waves in one call.
        device: given to a function that takes it.
        pooling: "model" calls `encode`; any other pools what `encode_frames` gives over time.

    Raises:
        UsageError: if there is no such function, or what it returns is no such object.
        ByolaError: if the function itself fails.
    """

    frontend = None  # it sees waves: there are no log-mels of ours to normalise
    layer = None

    def __init__(self, spec: str, batch_size: int = 32, device: str | None = None, pooling: Pooling = "model") -> None:
        check_pooling(pooling)
        self.spec, self.batch_size = spec, batch_size
        self.pooling: Pooling = pooling
        self._module, function = _import(spec)
        self.encoder = self._called(function, {"device": device} if _takes(function, "device") else {})
        self.name = str(getattr(self.encoder, "name", None) or spec)
        self._method = self._find_method()
        rate = getattr(self.encoder, "sample_rate", DEFAULT_RATE)
        if not (isinstance(rate, int | float | np.number) and rate > 0 and float(rate).is_integer()):
            raise UsageError(f"what {spec} returns has the sample_rate {rate!r}; it is a positive whole number of Hz")
        self.sample_rate = int(rate)
        self._dim: int | None = None

    def _find_method(self) -> Callable[..., Any]:
        method, other = ("encode", "encode_frames") if self.pooling == "model" else ("encode_frames", "encode")
        found: Any = getattr(self.encoder, method, None)
        if callable(found):
            return found
        hint = ""
        if callable(getattr(self.encoder, other, None)):
            hint = f", only {other}; pooling {self.pooling!r} needs {method}, choose another --pooling"
        raise UsageError(f"what {self.spec} returns ({type(self.encoder).__name__}) has no method {method}{hint}")

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        given: Any = getattr(self.encoder, "fingerprint", None)
        if given is None:
            given = self._digest_of_module()
        elif callable(given):
            given = self._called(given, {})
        if not isinstance(given, str) or not given.strip():
            raise UsageError(
                f"what {self.spec} returns has the fingerprint {given!r}; it is a string, not empty, that changes "
                f"whenever the embeddings do"
            )
        # People count their own versions ("1"): names tell those of different encoders apart.
        identity = json.dumps([given, self.spec, self.name, self.pooling])
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def _digest_of_module(self) -> str:
        """What stands for a fingerprint where there is none; says so, once in a process."""
        try:
            digest = hashlib.blake2b(Path(self._module.__file__).read_bytes(), digest_size=16).hexdigest()
        except (AttributeError, TypeError, OSError) as error:  # built in, a folder, or within an archive
            raise UsageError(
                f"{self.spec} has no fingerprint, and its module has no file that could stand for one; give the object "
                f"a string `fingerprint` that changes whenever its embeddings do"
            ) from error
        if self.spec not in _SAID:
            _SAID.add(self.spec)
            print(
                f"{self.spec} has no fingerprint: embeddings are kept under a digest of {self._module.__file__}, which "
                f"does not see changes to weights or to other modules; give the object a string `fingerprint`, or use "
                f"--no-cache",
                file=sys.stderr,
                flush=True,
            )
        return digest

    def extract(self, pieces: Sequence[Piece], request: EmbeddingRequest) -> Iterator[Row]:
        from byol_a.inputs import LongFile, ahead, groups, read_ahead
        from downstream.features.cuts import read_piece

        def load(piece: Piece) -> Loaded:
            return read_piece(piece, request, self.sample_rate)

        for group in ahead(groups(read_ahead(load, pieces), self.sample_rate)):
            rows: dict[int, Row] = {}
            waves: dict[int, np.ndarray] = {}
            for place, (_, loaded) in enumerate(group):
                if isinstance(loaded, np.ndarray):
                    waves[place] = loaded
                elif isinstance(loaded, AudioError):
                    rows[place] = loaded
            # Waves of similar length come together: most encoders pad a batch to its longest.
            order = sorted(waves, key=lambda place: len(waves[place]))
            for start in range(0, len(order), self.batch_size):
                batch = order[start : start + self.batch_size]
                rows |= zip(batch, self._encode([waves[place] for place in batch]), strict=True)
            for place, (piece, loaded) in enumerate(group):
                yield self._encode_long(piece) if isinstance(loaded, LongFile) else rows[place]

    def _encode_long(self, piece: Piece) -> Row:
        """Of a file that is held whole by itself only: reading ahead would hold dozens of them."""
        from downstream.features.cuts import read_clip

        try:
            (row,) = self._encode([read_clip(piece.clip, self.sample_rate)])
        except AudioError as error:
            return error
        return row

    def _encode(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """Embeddings (D,) of waves."""
        output = self._called(self._method, {}, waves, self.sample_rate)
        if self.pooling == "model":
            matrix = self._as_array(output)
            if matrix is None or matrix.ndim != 2 or len(matrix) != len(waves):
                self._refuse(output, f"an array of shape ({len(waves)}, D)")
        else:
            frames = [self._as_array(one) for one in output] if hasattr(output, "__len__") else []
            if len(frames) != len(waves) or any(one is None or one.ndim != 2 or not len(one) for one in frames):
                self._refuse(output, f"a list of {len(waves)} arrays of shape (T, D), T at least 1,")
            pooled = [_pool(one, self.pooling) for one in frames if one is not None]
            if len({len(one) for one in pooled}) > 1:
                raise ByolaError(f"encode_frames of {self.spec} gave frames of different sizes D within one call")
            matrix = np.stack(pooled)
        assert matrix is not None
        if self._dim not in (None, matrix.shape[1]):
            raise ByolaError(
                f"{self._method.__name__} of {self.spec} gave embeddings of {matrix.shape[1]} numbers after some of "
                f"{self._dim}; all clips need the same D, however long they are"
            )
        self._dim = matrix.shape[1]
        return list(matrix)

    def _as_array(self, value: Any) -> np.ndarray | None:
        """float32, of an array, a tensor on any device, or nested lists; None if it is none of these."""
        if hasattr(value, "detach"):
            value = value.detach().float().cpu().numpy()
        try:
            array = np.asarray(value)
            return array.astype(np.float32) if array.dtype.kind in "fiu" else None
        except (ValueError, TypeError):
            return None

    def _refuse(self, output: Any, expected: str) -> None:
        kind = type(output).__name__
        size = ""
        if hasattr(output, "shape"):
            size = f" of shape {tuple(output.shape)}"
        elif hasattr(output, "__len__"):
            size = f" of length {len(output)}"
        raise ByolaError(f"{self._method.__name__} of {self.spec} gave a {kind}{size}; {expected} was expected")

    def _called(self, function: Callable[..., Any], options: dict[str, Any], *arguments: Any) -> Any:
        """What somebody's function returns; what it raises becomes one sentence, unless it is one already."""
        try:
            return function(*arguments, **options)
        except ByolaError:
            raise
        except Exception as error:
            name = getattr(function, "__name__", "it")
            raise ByolaError(
                f"{name} of {self.spec} raised {type(error).__name__}: {one_line(error)[:300] or 'no further word'} "
                f"(run again with --debug for the traceback)"
            ) from error


def _import(spec: str) -> tuple[Any, Callable[..., Any]]:
    module_name, _, function_name = spec.partition(":")
    try:
        module = import_from_here(module_name)
    except Exception as error:  # whatever a module does when it is imported
        is_missing = isinstance(error, ModuleNotFoundError) and error.name in (module_name, module_name.split(".")[0])
        reason = (
            f"there is no module {error.name!r} in {Path.cwd()}, and none is installed"  # type: ignore[attr-defined]
            if is_missing
            else f"the module raised {type(error).__name__}: {one_line(error)[:300]}"
        )
        raise UsageError(f"{spec} cannot be imported: {reason}") from error
    function: Any = module
    for part in function_name.split("."):
        function = getattr(function, part, None)
    if not callable(function):
        place = getattr(module, "__file__", None) or "built in"
        raise UsageError(f"the module {module_name} ({place}) has no function {function_name}")
    return module, function


def _takes(function: Callable[..., Any], parameter: str) -> bool:
    try:
        return parameter in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some built-in callables nothing is known
        return False


def _pool(frames: np.ndarray, pooling: Pooling) -> np.ndarray:
    """Frames (T, D) over time: (D,)."""
    pooled = np.zeros(frames.shape[1], np.float32)
    if "mean" in pooling:
        pooled += frames.mean(axis=0, dtype=np.float64).astype(np.float32)
    if "max" in pooling:
        pooled += frames.max(axis=0)
    return pooled
