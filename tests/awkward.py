"""Audio as it is found in the wild: a folder of files that are odd, broken or not files at all.

`python -m tests.awkward DIR` writes them and prints what becomes of each. `CASES` says it to tests.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import stat
import struct
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 16000
SECONDS = 0.6
LONGEST_NAME = 255  # bytes, of the file systems in common use
USABLE = "usable"
UNSEEN = "unseen"  # a walk passes over it without a word

Write = Callable[[Path], Any]


@dataclass(frozen=True)
class Case:
    """One awkward thing.

    `name`: its path below the folder, which may hold bytes that are not UTF-8 as surrogates. `what`: in words.
    `fate`: `USABLE`, `UNSEEN`, or how the reason begins why it cannot be used. `write`: makes it at a path.
    """

    name: str
    what: str
    fate: str
    write: Write

    @property
    def kind(self) -> str:
        """What the summary of a report counts it as."""
        return self.fate.partition(":")[0]


def sound(seconds: float = SECONDS, rate: int = RATE, channels: int = 1) -> np.ndarray:
    """(S, C) float64: a noisy tone, another one in each channel."""
    time = np.arange(round(seconds * rate))[:, None] / rate
    tones = 0.3 * np.sin(2 * np.pi * 220 * (1 + np.arange(channels)) * time)
    return tones + 0.02 * np.random.default_rng(channels).standard_normal((len(time), channels))


def encoded(kind: str = "WAV", subtype: str = "PCM_16", wave: np.ndarray | None = None, rate: int = RATE) -> bytes:
    """A sound file's bytes; 0.6 s of a tone unless given."""
    stream = io.BytesIO()
    soundfile.write(stream, sound(rate=rate) if wave is None else wave, rate, format=kind, subtype=subtype)
    return stream.getvalue()


def _bytes(data: Callable[[], bytes]) -> Write:
    return lambda path: path.write_bytes(data())


def _wav(subtype: str = "PCM_16", wave: np.ndarray | None = None, rate: int = RATE) -> Write:
    return _bytes(lambda: encoded("WAV", subtype, wave, rate))


def _part(kind: str, subtype: str, kept: float) -> Write:
    """The first part of a file of ten seconds."""

    def data() -> bytes:
        whole = encoded(kind, subtype, sound(10.0))
        return whole[: int(kept * len(whole))]

    return _bytes(data)


def _with_hole(value: float) -> Write:
    wave = sound()
    wave[len(wave) // 2] = value
    return _wav("FLOAT", wave)


def _header(size: int, rate: int = RATE) -> bytes:
    """A WAV header that promises `size` bytes of sound."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + fmt + struct.pack("<4sI", b"data", size)


def rf64_header(size: int, rate: int = RATE) -> bytes:
    """A header for sounds beyond 4 GB: 16-bit mono, `size` bytes of it."""
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 72, size, size // 2, 0)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RF64", 2**32 - 1, b"WAVE") + sizes + fmt + struct.pack("<4sI", b"data", 2**32 - 1)


def write_sparse_rf64(path: Path, seconds: float = 80_000.0, rate: int = 32000) -> int:
    """A valid RF64 of more than 4 GB that takes no room: silence, and one second of a tone at its end.

    Returns its number of samples. Decoding all of it takes seconds, so it is no part of the corpus.
    """
    size = 2 * round(seconds * rate)
    tone = (sound(1.0, rate) * 32767).astype("<i2").tobytes()
    with path.open("wb") as file:
        file.write(rf64_header(size, rate))
        file.seek(size - len(tone), os.SEEK_CUR)
        file.write(tone)
    return size // 2


def _link_to(target: str) -> Write:
    return lambda path: path.symlink_to(target)


def _device(path: Path) -> None:
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except (OSError, AttributeError):  # not permitted: a link leads to the same
        path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    # Its address must be short, and a path need not be.
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def _forbidden(path: Path) -> None:
    _wav()(path)
    path.chmod(0)


def _forbidden_folder(path: Path) -> None:
    path.mkdir()
    _wav()(path / "inside.wav")
    path.chmod(0)


def _fate_of_the_forbidden() -> str:
    """The superuser reads what nobody may read."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0)
        return USABLE if os.access(file.name, os.R_OK) else "unreadable"


_FORBIDDEN = _fate_of_the_forbidden()
_DEEP = "/".join(["deep"] * 60)
_ID3 = b"ID3\x04\x00\x00\x00\x00\x07\x76" + bytes(1014)
_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x48\x00\x48\x00\x00" + bytes(range(256)) * 40

CASES: tuple[Case, ...] = (
    # Codings, channels and rates.
    Case("8-bit.wav", "8 bits, unsigned", USABLE, _wav("PCM_U8")),
    Case("24-bit.wav", "24 bits", USABLE, _wav("PCM_24")),
    Case("32-bit.aiff", "32 bits, big-endian", USABLE, _bytes(lambda: encoded("AIFF", "PCM_32"))),
    Case("float64.wav", "64-bit floats", USABLE, _wav("DOUBLE")),
    Case("mu-law.wav", "mu-law, of telephones", USABLE, _wav("ULAW")),
    Case("gsm.wav", "GSM 6.10, which decoders cannot seek in", USABLE, _wav("GSM610")),
    Case("adpcm.wav", "IMA ADPCM", USABLE, _wav("IMA_ADPCM")),
    Case("six-channels.wav", "six channels", USABLE, _wav(wave=sound(channels=6))),
    Case("96-kHz.wav", "96 kHz", USABLE, _wav(rate=96000)),
    Case("4-kHz.wav", "4 kHz, a quarter of what models take", USABLE, _wav(rate=4000)),
    Case("small.rf64", "RF64 that would have fitted into a WAV", USABLE, _bytes(lambda: encoded("RF64"))),
    Case("piped.wav", "no sizes in its header, as a pipe leaves it", USABLE,
         _bytes(lambda: _header(2**32 - 37) + encoded()[44:])),
    # What samples can be.
    Case("one-sample.wav", "a single sample", USABLE, _wav(wave=sound()[:1])),
    Case("silence.wav", "all samples 0", USABLE, _wav(wave=0 * sound())),
    Case("constant.wav", "all samples 0.5", USABLE, _wav(wave=0 * sound() + 0.5)),
    Case("loud.wav", "floats a thousand times full scale", USABLE, _wav("FLOAT", 1e3 * sound())),
    Case("overflowing.wav", "floats up to 1e38", USABLE, _wav("FLOAT", 3e38 * sound())),
    Case("nan.wav", "one sample is not a number", "contains NaN", _with_hole(np.nan)),
    Case("infinite.wav", "one sample is infinite", "contains infinity", _with_hole(np.inf)),
    # Nothing, or not all.
    Case("nothing.wav", "no bytes", "empty", _bytes(lambda: b"")),
    Case("no-samples.wav", "a header that promises no sound", "empty", _bytes(lambda: _header(0))),
    Case("no-data.wav", "a header without a data chunk", "truncated", _bytes(lambda: encoded()[:36])),
    Case("lost-data.wav", "a header, and nothing of the sound", "truncated", _bytes(lambda: _header(32000))),
    Case("half.wav", "cut in the middle", "truncated", _part("WAV", "PCM_16", 0.5)),
    Case("half.flac", "cut in the middle", "truncated", _part("FLAC", "PCM_16", 0.5)),
    Case("half.ogg", "cut in the middle", "truncated", _part("OGG", "VORBIS", 0.5)),
    Case("half.mp3", "cut in the middle", "truncated", _part("MP3", "MPEG_LAYER_III", 0.5)),
    Case("huge.rf64", "RF64 that promises 5 GB and has a second", "truncated",
         _bytes(lambda: rf64_header(5 * 10**9) + bytes(32000))),
    # Something else.
    Case("letter.wav", "text", "not audio", _bytes(lambda: b"Dear reader, this is not sound. " * 300)),
    Case("picture.mp3", "a picture", "not audio", _bytes(lambda: _JPEG)),
    Case("tag-only.mp3", "an ID3 tag and nothing after it", "not audio", _bytes(lambda: _ID3)),
    Case("garbage-first.mp3", "other bytes before the first frame", "not audio",
         _bytes(lambda: b"\0garbage" * 60 + encoded("MP3", "MPEG_LAYER_III"))),
    Case("slow.wav", "a header that says 1 Hz", "not audio", _bytes(lambda: _header(19200, 1) + encoded()[44:])),
    Case("song.m4a", "a format that cannot be decoded", "unsupported",
         _bytes(lambda: b"\0\0\0\x20ftypM4A " + bytes(99))),
    Case("notes.txt", "not named as sound", UNSEEN, _bytes(lambda: b"notes")),
    # The wrong name for what it is.
    Case("flac.mp3", "FLAC named .mp3", USABLE, _bytes(lambda: encoded("FLAC"))),
    Case("wav.ogg", "WAV named .ogg", USABLE, _bytes(encoded)),
    Case("mp3.wav", "MP3 named .wav", USABLE, _bytes(lambda: encoded("MP3", "MPEG_LAYER_III"))),
    # Odd names.
    Case("UPPER.WAV", "an upper-case extension", USABLE, _wav()),
    Case("caf\udce9.wav", "Latin-1 in its name, which is not UTF-8", USABLE, _wav()),
    Case("caf\udce9-text.wav", "the same, and no sound", "not audio", _bytes(lambda: b"text" * 99)),
    Case(unicodedata.normalize("NFC", "é.wav"), "é as one character", USABLE, _wav()),
    Case(unicodedata.normalize("NFD", "é.wav"), "é as two characters", USABLE, _wav()),
    Case("x" * (LONGEST_NAME - 4) + ".wav", "a name of 255 bytes", USABLE, _wav()),
    Case("two\nlines.wav", "a line break in its name", USABLE, _wav()),
    Case("two\nlines-text.wav", "the same, and no sound", "not audio", _bytes(lambda: b"text" * 99)),
    Case("\"quoted\", 'twice'; $HOME.wav", "quotes, a comma and a dollar in its name", USABLE, _wav()),
    Case("--out.wav", "a name that looks like an option", USABLE, _wav()),
    Case(" .wav", "a name that is a space", USABLE, _wav()),
    Case(".hidden.wav", "a hidden file", UNSEEN, _wav()),
    Case("folder.wav/inside.wav", "in a folder that is named like a file", USABLE, _wav()),
    Case(f"{_DEEP}/bottom.wav", "sixty folders down", USABLE, _wav()),
    # Links, and what is not a file.
    Case("link.wav", "a link to a file", USABLE, _link_to("8-bit.wav")),
    Case("dangling.wav", "a link to nothing", "unreadable", _link_to("gone.wav")),
    Case("circle.wav", "a link to itself", "unreadable", _link_to("circle.wav")),
    Case("loop", "a link to the folder it is in", UNSEEN, _link_to(".")),
    Case("pipe.wav", "a named pipe, from which nothing will ever come", "unreadable", os.mkfifo),
    Case("device.wav", "a device that never ends", "unreadable", _device),
    Case("socket.wav", "a socket", "unreadable", _socket),
    Case("forbidden.wav", "no permission to read", _FORBIDDEN, _forbidden),
    Case("forbidden", "no permission to list", _FORBIDDEN, _forbidden_folder),
)  # fmt: skip


def write_corpus(folder: Path, cases: Iterable[Case] = CASES) -> list[Case]:
    """Write the cases into a folder; returns those that the file system and the permissions allowed."""
    written = []
    for case in cases:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # names that are not UTF-8 on macOS, sockets on network drives
            case.write(path)
            written.append(case)
    return written


def clear(folder: Path) -> None:
    """Give back the permission to remove the corpus."""
    for name in ("forbidden", "forbidden.wav"):
        with contextlib.suppress(OSError):
            (folder / name).chmod(0o700)


def counts(cases: Iterable[Case]) -> Counter[str]:
    """How many files a report names, by kind of reason; `USABLE` among them."""
    return Counter(case.kind for case in cases if case.fate != UNSEEN)


def table(cases: Iterable[Case]) -> str:
    """Fate, name and description of each case, in lines."""
    rows = [(case.fate, ascii(case.name.replace(f"{_DEEP}/", ".../"))[1:-1], case.what) for case in cases]
    return "\n".join(f"{fate:18}{name if len(name) < 40 else name[:36] + '...':41}{what}" for fate, name, what in rows)


def main() -> None:
    """Write the corpus to the folder named on the command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.awkward DIR")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    written = write_corpus(folder)
    print(table(written))
    print(", ".join(f"{count} {kind}" for kind, count in counts(written).most_common()))


if __name__ == "__main__":
    main()
