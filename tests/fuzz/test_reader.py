"""The reader on damaged sound files: right audio or an `AudioError`; no crash, no hang, no memory for mere claims."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.io import AudioFile, audio_info, open_audio, read_audio, samples_at, stream_audio
from byol_a.errors import AudioError

from .budget import fuzz, memory_limit, time_limit
from .mutations import Mutation, mutate, mutations, with_ogg_checksums
from .sounds import SAMPLES, sounds

NAMES = sorted(sounds())
REASONS = ("empty", "truncated", "not audio", "unreadable", "contains NaN", "contains infinity")
MAGICS = [
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"RF64\xff\xff\xff\xffWAVEds64\x1c\0\0\0",
    b"FORM\0\0\x10\0AIFFCOMM\0\0\0\x12",
    b"fLaC\0\0\0\x22",
    b"OggS\0\x02",
    b"ID3\x04\0\0\0\0\0\0",
    b"\xff\xfb\x90\xc4",
    b".snd\0\0\0\x18",
    b"caff\0\x01\0\0desc",
    b"riff.\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",
    b"NIST_1A\n   1024\n",
    b"\xf0\x7e\0\x01",  # a MIDI sample dump
    b"Creative Voice File\x1a",
    b"MATLAB 5.0 MAT-file",
    b"Extended Instrument:",
    b"",
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "damaged.wav"


@pytest.fixture(autouse=True)
def limits(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    with memory_limit():
        yield
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err == ""  # neither a decoder's chatter nor the traceback of a callback


def check(open_it: Callable[[], AudioFile], rate: int | None, place: float, block_seconds: float) -> bool:
    """Read in every way there is. Returns whether there was anything to read."""
    with time_limit():
        try:
            with open_it() as audio:
                info = audio.info
                wanted = rate or info.sample_rate
                length = samples_at(info, wanted)
                assert info.frames > 0 and info.channels > 0
                start = int(place * min(length, 2**40))
                check_wave(audio.segment(start, 15200, wanted), min(15200, length - start))
                # What a cut file holds is gone through block by block: its header may promise days of it.
                blocks = list(audio.native_blocks(max(1, round(block_seconds * info.sample_rate))))
                assert sum(map(len, blocks)) == info.frames
                assert all(np.isfinite(block).all() for block in blocks)
                if length < 10**7:
                    check_wave(audio.whole(rate), length)
        except AudioError as error:
            assert error.reason.startswith(REASONS), error.reason
            assert "alloc" not in error.reason  # memory was asked for that is not there
            return False
    return True


def check_wave(wave: np.ndarray, length: int) -> None:
    assert wave.dtype == np.float32
    assert wave.shape == (length,)
    assert np.isfinite(wave).all()
    assert np.abs(wave).max(initial=0) <= 1


@fuzz(800)
@given(
    name=st.sampled_from(NAMES),
    changes=mutations([sounds()[name] for name in NAMES]),
    mend=st.booleans(),
    rate=st.sampled_from([None, 16000, 8000, 44100]),
    place=st.floats(0, 1),
    block_seconds=st.sampled_from([0.01, 0.1, 30.0]),
)
def test_damaged_files(
    file: Path, name: str, changes: list[Mutation], mend: bool, rate: int | None, place: float, block_seconds: float
) -> None:
    data = mutate(sounds()[name], changes)
    file.write_bytes(with_ogg_checksums(data) if mend else data)
    if check(lambda: open_audio(file), rate, place, block_seconds):
        length = samples_at(audio_info(file), rate or 16000)
        if length < 10**7:
            # What a damaged file gives may depend on where decoding begins, and in which steps it goes on.
            with suppress(AudioError):
                assert sum(map(len, stream_audio(file, rate or 16000, block_seconds))) == length


@fuzz(400)
@given(magic=st.sampled_from(MAGICS), rest=st.binary(max_size=400), rate=st.sampled_from([None, 16000]))
def test_arbitrary_bytes_behind_a_true_beginning(file: Path, magic: bytes, rest: bytes, rate: int | None) -> None:
    file.write_bytes(magic + rest)
    check(lambda: open_audio(file), rate, 0.5, 0.1)


@fuzz(200)
@given(
    name=st.sampled_from(NAMES),
    before=st.integers(0, 700),
    after=st.integers(0, 700),
    offset=st.one_of(st.integers(-10, 10), st.sampled_from([2**31, 2**62, 2**64])),
    size=st.one_of(st.integers(-10, 10), st.sampled_from([2**31, 2**62, 2**64])),
    changes=st.one_of(st.just([]), mutations([])),
    is_copied=st.booleans(),
)
def test_a_section_of_an_archive_that_is_damaged_or_elsewhere(
    file: Path, name: str, before: int, after: int, offset: int, size: int, changes: list[Mutation], is_copied: bool
) -> None:
    sound = mutate(sounds()[name], changes)
    file.write_bytes(bytes(before) + sound + bytes(after))
    section = (max(0, before + offset), max(0, len(sound) + size))
    with mock.patch("byol_a.data.section._LARGEST_COPY", 1 << 20 if is_copied else 0):
        good = check(lambda: open_audio(file, section=section), 16000, 0.5, 0.1)
    assert good or changes or (offset, size) != (0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_undamaged_files_are_read_whole(file: Path, name: str) -> None:
    file.write_bytes(sounds()[name])
    assert check(lambda: open_audio(file), None, 0.5, 0.1)
    assert 0 <= audio_info(file).frames - SAMPLES < 3000  # codings that work in blocks fill the last one up


def claims() -> dict[str, bytes]:
    """Files of a few kilobytes whose headers promise what would not fit into any memory."""
    original = sounds()
    many_channels = bytearray(original["pcmu8.wav"])
    many_channels[22:24] = struct.pack("<H", 1024)
    many_channels[32:34] = struct.pack("<H", 1024)
    too_many_channels = bytearray(original["pcmu8.wav"])
    too_many_channels[22:24] = struct.pack("<H", 65535)
    endless_wav = bytearray(original["pcm16.wav"])
    endless_wav[40:44] = struct.pack("<I", 0x7FFFFFFF)
    huge_rf64 = bytearray(original["pcm16.rf64"])
    huge_rf64[28:36] = struct.pack("<Q", 2**40)
    long_flac = bytearray(original["pcm16.flac"])
    long_flac[21] |= 0x0F
    long_flac[22:26] = b"\xff" * 4
    long_ogg = bytearray(original["opus.opus"])
    last = long_ogg.rindex(b"OggS")
    long_ogg[last + 6 : last + 14] = struct.pack("<q", 2**50)
    long_caf = bytearray(original["alac.caf"])
    packets = long_caf.index(b"pakt") + 12
    long_caf[packets : packets + 16] = struct.pack(">QQ", 2**40, 2**52)
    long_mp3 = bytearray(original["tagged.mp3"])
    tag = long_mp3.index(b"Info") if b"Info" in long_mp3 else long_mp3.index(b"Xing")
    long_mp3[tag + 8 : tag + 12] = b"\x7f\xff\xff\xff"
    return {
        "1024 channels": bytes(many_channels),
        "65535 channels": bytes(too_many_channels),
        "a wav of 2 GB": bytes(endless_wav),
        "an rf64 of 1 TB": bytes(huge_rf64),
        "a flac of 2^36 samples": bytes(long_flac),
        "an opus of 2^50 samples": with_ogg_checksums(bytes(long_ogg)),
        "a caf of 2^52 samples": bytes(long_caf),
        "an mp3 of 2^31 frames": bytes(long_mp3),
    }


@pytest.mark.parametrize("claim", claims())
def test_memory_is_taken_for_what_is_there_and_not_for_what_is_claimed(file: Path, claim: str) -> None:
    file.write_bytes(claims()[claim])
    tracemalloc.start()
    try:
        check(lambda: open_audio(file), 16000, 0.5, 30.0)
        check(lambda: open_audio(file), None, 0.0, 0.1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6


def test_a_rate_that_no_recorder_has_is_damage(file: Path) -> None:
    data = bytearray(sounds()["pcm16.wav"])
    for rate in (0, 1, 99, 2**31 - 1, 2**32 - 1):
        data[24:28] = struct.pack("<I", rate)
        file.write_bytes(data)
        with pytest.raises(AudioError, match="not audio"):
            read_audio(file)
