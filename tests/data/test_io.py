"""The reader: every format, rate and channel count; partial and streamed reads; every kind of damage."""

from __future__ import annotations

import math
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from byol_a.data.io import (
    audio_info,
    open_audio,
    read_audio,
    read_segment,
    resample,
    samples_at,
    stream_audio,
    to_mono,
)
from byol_a.data.mp3 import FirstFrame, count_frames, find_first_frame
from byol_a.data.quiet import quiet_stderr
from byol_a.errors import AudioError, UsageError

# name, format, subtype, rate, largest error of the decoded wave that the coding explains
FORMATS = [
    ("pcm16.wav", "WAV", "PCM_16", 16000, 4e-5),
    ("pcm24.wav", "WAV", "PCM_24", 44100, 1e-6),
    ("pcmu8.wav", "WAV", "PCM_U8", 11025, 1e-2),
    ("float.wav", "WAV", "FLOAT", 48000, 1e-7),
    ("double.wav", "WAV", "DOUBLE", 22050, 1e-7),
    ("extensible.wav", "WAVEX", "PCM_16", 32000, 4e-5),
    ("rf64.wav", "RF64", "PCM_16", 96000, 4e-5),
    ("pcm16.flac", "FLAC", "PCM_16", 44100, 4e-5),
    ("pcm24.flac", "FLAC", "PCM_24", 16000, 1e-6),
    ("vorbis.ogg", "OGG", "VORBIS", 44100, None),
    ("opus.opus", "OGG", "OPUS", 48000, None),
    ("high.mp3", "MP3", "MPEG_LAYER_III", 44100, None),
    ("low.mp3", "MP3", "MPEG_LAYER_III", 22050, None),
    ("pcm16.aiff", "AIFF", "PCM_16", 8000, 4e-5),
    ("pcm32.aiff", "AIFF", "PCM_32", 44100, 1e-6),
    ("pcm16.au", "AU", "PCM_16", 16000, 4e-5),
]
NAMES = [row[0] for row in FORMATS]
SECONDS = 4.0


def make_sound(rate: int, seconds: float = SECONDS, channels: int = 1, seed: int = 0) -> np.ndarray:
    """(S, C): tones and noise, loud and quiet passages, different in each channel."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(rate * seconds))[:, None] / rate
    tones = 0.25 * np.sin(2 * np.pi * (300 * (1 + np.arange(channels)) * time + 40 * time**2))
    wave = tones + 0.05 * rng.standard_normal((len(time), channels))
    wave[len(wave) // 2 :] *= 0.05
    return wave.astype(np.float32)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name, kind, subtype, rate, _ in FORMATS:
        soundfile.write(folder / name, make_sound(rate, channels=2), rate, format=kind, subtype=subtype)
    return folder


def reason_of(path: Path, rate: int = 16000) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path, rate)
    assert caught.value.path == str(path)
    assert caught.value.reason in str(caught.value)
    return caught.value.reason


# --- what is read ---


@pytest.mark.parametrize(("name", "kind", "subtype", "rate", "tolerance"), FORMATS)
def test_every_format_is_read_as_it_was_written(
    sounds: Path, name: str, kind: str, subtype: str, rate: int, tolerance: float | None
) -> None:
    info = audio_info(sounds / name)
    assert (info.sample_rate, info.channels, info.subtype) == (rate, 2, subtype)
    assert info.frames == round(rate * SECONDS) and info.duration == pytest.approx(SECONDS)
    wave = read_audio(sounds / name, None)
    expected = make_sound(rate, channels=2).mean(axis=1)
    assert wave.dtype == np.float32 and wave.shape == expected.shape
    if tolerance is not None:
        np.testing.assert_allclose(wave, expected, atol=tolerance)
    else:
        assert np.corrcoef(wave, expected)[0, 1] > 0.9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_segments_and_streams_equal_the_whole(sounds: Path, name: str, rate: int) -> None:
    path = sounds / name
    info = audio_info(path)
    whole = read_audio(path, rate)
    assert len(whole) == samples_at(info, rate)
    assert np.abs(whole).max() <= 1

    for seconds in (0.37, 100.0):
        blocks = list(stream_audio(path, rate, seconds))
        assert len(np.concatenate(blocks)) == len(whole)
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5)

    rng = np.random.default_rng(0)
    starts = [
        0,
        1,
        len(whole) - 1,
        len(whole) - 500,
        len(whole),
        len(whole) + 10,
        *rng.integers(0, len(whole), 6),
    ]
    for start in map(int, starts):
        for known in (None, info):
            segment = read_segment(path, start, 700, rate, known)
            expected = whole[start : start + 700]
            assert segment.shape == expected.shape
            np.testing.assert_allclose(segment, expected, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    from_rate=st.sampled_from([4000, 8000, 11025, 12345, 16000, 16001, 22050, 32000, 44100, 48000, 96000, 192000]),
    to_rate=st.sampled_from([8000, 16000, 22050, 32000, 44100, 48000]),
    samples=st.integers(1, 30000),
    data=st.data(),
)
def test_any_pair_of_rates(
    tmp_path_factory: pytest.TempPathFactory, from_rate: int, to_rate: int, samples: int, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "rates.wav"
    noise = np.random.default_rng(samples).uniform(-0.6, 0.6, samples).astype(np.float32)
    soundfile.write(path, noise, from_rate, subtype="FLOAT")
    whole = read_audio(path, to_rate)
    assert len(whole) == samples_at(audio_info(path), to_rate)
    streamed = list(stream_audio(path, to_rate, data.draw(st.floats(0.01, 1.0))))
    assert sum(map(len, streamed)) == len(whole)
    if streamed:
        np.testing.assert_allclose(np.concatenate(streamed), whole, atol=1e-5)
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, 5000))
    segment = read_segment(path, start, length, to_rate)
    assert segment.shape == whole[start : start + length].shape
    np.testing.assert_allclose(segment, whole[start : start + length], atol=1e-5)


def lengths_of_half_a_sample(rate: int, to_rate: int) -> list[int]:
    """Lengths that make a whole number of samples and a half at another rate; others, where there is none."""
    halves = [n for n in range(1, 2 * rate) if (2 * n * to_rate) % (2 * rate) == rate]
    return [*halves[:3], *halves[-1:], 1, rate // 100 + 1]


@pytest.mark.parametrize("to_rate", [8000, 11025, 16000, 22050, 44100])
@pytest.mark.parametrize("rate", [8000, 12000, 16000, 24000, 44100, 48000, 96000, 192000])
def test_a_length_at_another_rate_is_always_the_rounded_one(rate: int, to_rate: int, tmp_path: Path) -> None:
    for n in lengths_of_half_a_sample(rate, to_rate):
        path = tmp_path / f"{n}.wav"
        soundfile.write(path, make_sound(rate, n / rate)[:n, 0], rate, subtype="FLOAT")
        info = audio_info(path)
        assert info.frames == n
        length = samples_at(info, to_rate)
        whole = read_audio(path, to_rate)
        assert len(whole) == length == math.floor(Fraction(n * to_rate, rate) + Fraction(1, 2))
        streamed = list(stream_audio(path, to_rate, block_seconds=0.31))
        np.testing.assert_allclose(np.concatenate([*streamed, np.zeros(0)]), whole, atol=1e-5)
        np.testing.assert_allclose(read_segment(path, length // 2, length, to_rate), whole[length // 2 :], atol=1e-5)
        assert len(resample(np.zeros(n), rate, to_rate)) == length


def test_resampling_keeps_a_tone_and_removes_what_would_alias() -> None:
    time = np.arange(44100) / 44100
    tone = resample(np.sin(2 * np.pi * 1000 * time), 44100, 16000)
    expected = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    np.testing.assert_allclose(tone[500:-500], expected[500:-500], atol=1e-4)
    too_high = resample(np.sin(2 * np.pi * 12000 * time), 44100, 16000)
    assert np.abs(too_high[500:-500]).max() < 1e-4


def test_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", 3 * make_sound(44100), 44100, subtype="FLOAT")
    for wave in (read_audio(tmp_path / "loud.wav"), read_segment(tmp_path / "loud.wav", 0, 16000)):
        assert np.abs(wave).max() == 1
    # Resampling overshoots at the edges of a square wave at full scale.
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(44100) / 44100))
    soundfile.write(tmp_path / "square.wav", square, 44100, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "square.wav")).max() <= 1


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_floats_of_any_size_stay_finite(tmp_path: Path, channels: int, rate: int) -> None:
    """Resampling sums products of samples: beyond 1e37 they would overflow."""
    for size in (1e6, 1e30, 1e38):
        wave = np.random.default_rng(0).choice([-size, size], (4410, 1)).repeat(channels, axis=1)
        soundfile.write(tmp_path / "huge.wav", wave, rate, subtype="DOUBLE" if size < 1e38 else "FLOAT")
        for found in (read_audio(tmp_path / "huge.wav"), np.concatenate(list(stream_audio(tmp_path / "huge.wav")))):
            assert np.isfinite(found).all() and np.abs(found).max() == 1


@pytest.mark.parametrize(
    ("kind", "subtype"), [("WAV", "GSM610"), ("W64", "GSM610"), ("AU", "G721_32"), ("WAV", "G721_32")]
)
def test_codings_without_a_way_to_seek(tmp_path: Path, kind: str, subtype: str) -> None:
    path = tmp_path / "telephone.wav"
    soundfile.write(path, make_sound(8000), 8000, format=kind, subtype=subtype)
    whole = read_audio(path, 8000)
    assert len(whole) == audio_info(path).frames and np.abs(whole).max() > 0.1
    assert len(np.concatenate(list(stream_audio(path, 8000, 0.3)))) == len(whole)
    with open_audio(path) as audio:
        for start in (20000, 0, 31, 12345, len(whole) - 10):
            np.testing.assert_array_equal(audio.segment(start, 500, 8000), whole[start : start + 500])


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    sound = make_sound(16000, channels=channels)
    soundfile.write(tmp_path / "many.wav", sound, 16000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "many.wav"), sound.mean(axis=1), atol=1e-6)


def test_a_segment_decodes_little_more_than_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, make_sound(44100, 20.0), 44100)
    asked: list[int] = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, frames, **kw: asked.append(frames) or read(self, frames, **kw),
    )
    read_segment(path, 160000, 16000)
    assert 44100 <= sum(asked) < 47000


def test_a_long_stream_is_read_in_bounded_blocks(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 600, np.int16), 8000)
    lengths = [len(block) for block in stream_audio(path, 16000, 10.0)]
    assert sum(lengths) == 16000 * 600 and max(lengths) < 16000 * 11


@pytest.mark.parametrize("rate", [8000, 44100])
@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_a_vorbis_segment_is_exact_wherever_it_starts(tmp_path: Path, rate: int, quality: float) -> None:
    path = tmp_path / "noise.ogg"
    noise = 0.2 * np.random.default_rng(0).standard_normal(8 * rate)
    soundfile.write(path, noise, rate, format="OGG", subtype="VORBIS", compression_level=quality)
    whole = read_audio(path, rate)
    for start in [
        *np.random.default_rng(1).integers(0, len(whole), 20),
        *range(len(whole) - 9000, len(whole), 700),
    ]:
        segment = read_segment(path, int(start), 2000, rate)
        np.testing.assert_allclose(segment, whole[start : start + 2000], atol=1e-5)


def test_real_files(real_data: Path) -> None:
    for pattern in ("esc10/audio/*.ogg", "fsdd/**/*.wav", "nsynth-mini/**/*.wav"):
        for path in sorted(real_data.glob(pattern))[:5]:
            whole = read_audio(path)
            assert len(whole) == samples_at(audio_info(path), 16000)
            middle = len(whole) // 3
            np.testing.assert_allclose(read_segment(path, middle, 4000), whole[middle : middle + 4000], atol=1e-5)


# --- standard error, which libmpg123 writes to ---


def test_standard_error_is_itself_after_mp3s_were_read_in_threads(
    sounds: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = os.fstat(2)

    def read(n: int) -> None:
        read_segment(sounds / "low.mp3", 400 * n, 100)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read, range(150)))
    assert os.path.samestat(os.fstat(2), before)
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_threads_that_overlap_turn_standard_error_back_once(capfd: pytest.CaptureFixture[str]) -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(quiet_stderr)
    second.enter_context(quiet_stderr)
    first.close()
    os.write(2, b"dropped")
    second.close()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_worker_forked_meanwhile_has_its_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_stderr:
        child = os.fork()
        if not child:
            try:
                with quiet_stderr:
                    os.write(2, b"dropped")
                os.write(2, b"heard")
            finally:  # or it would go on with the other tests
                os._exit(0)
        os.waitpid(child, 0)
    assert capfd.readouterr().err == "heard"


# --- mp3 without, or with, a count of its frames ---


def without_tag(data: bytes) -> bytes:
    """An MP3 without its first frame, in which the encoder wrote how many follow."""
    assert b"Xing" in data[:200] or b"Info" in data[:200]
    return data[data.index(data[:2], 100) :]


@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_an_mp3_without_a_frame_count_is_read_to_its_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], mode: str, rate: int
) -> None:
    tagged, bare = tmp_path / "tagged.mp3", tmp_path / "bare.mp3"
    sound = make_sound(rate, 12.0)
    sound[: len(sound) // 4] *= 0.001  # a first bit rate that says nothing of the others
    soundfile.write(tagged, sound, rate, bitrate_mode=mode, compression_level=0.5)
    # Tags for people come before and after the sound in many files.
    id3 = b"ID3\x04\x00\x00\x00\x00\x07\x76" + bytes(1014)
    bare.write_bytes(id3 + without_tag(tagged.read_bytes()) + b"TAG" + bytes(125))
    whole = read_audio(bare, None)
    reference = read_audio(tagged, None)
    assert len(reference) == len(sound)
    assert len(whole) == audio_info(bare).frames
    assert 0 <= len(whole) - len(sound) < 3 * 1152  # no tag, so the encoder's padding is not cut off
    delay = int(np.argmax(np.correlate(whole[rate * 5 : rate * 6 + 2400], reference[rate * 5 : rate * 6], "valid")))
    np.testing.assert_allclose(
        whole[delay + 5000 : len(reference)], reference[5000 : len(reference) - delay], atol=1e-3
    )
    np.testing.assert_allclose(read_segment(bare, rate, 4000, rate), whole[rate : rate + 4000], atol=1e-5)
    assert capfd.readouterr().err == ""  # the decoder's chatter on seeking


def test_the_frames_of_an_mp3_are_counted_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def count(file: BinaryIO, first: FirstFrame) -> tuple[int, int]:
        counted.append(1)
        return count_frames(file, first)

    monkeypatch.setattr("byol_a.data.containers.count_frames", count)
    path = tmp_path / "bare.mp3"
    soundfile.write(path, make_sound(16000), 16000, format="MP3", subtype="MPEG_LAYER_III")
    data = without_tag(path.read_bytes())
    path.write_bytes(data)
    whole = read_audio(path)
    for start in (0, 900, 5000):
        np.testing.assert_allclose(read_segment(path, start, 300), whole[start : start + 300], atol=1e-5)
    assert len(counted) == 1
    os.utime(path, ns=(0, 0))
    assert len(read_audio(path)) == len(whole) and len(counted) == 2
    path.write_bytes(data[: len(data) // 2])
    assert len(read_audio(path)) < 0.6 * len(whole) and len(counted) == 3


def test_frames_are_counted_alike_through_windows_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bare.mp3"
    soundfile.write(path, make_sound(16000), 16000, format="MP3", subtype="MPEG_LAYER_III")
    whole = without_tag(path.read_bytes())
    damage = b"\xff" * 5000 + whole[:2] + bytes(2000)  # what might be the beginning of frames, and is not
    path.write_bytes(whole[: len(whole) // 2] + damage + whole[len(whole) // 2 :] + damage)
    counts = set()
    for window in (4, 5, 417, 1000, 1 << 20):
        monkeypatch.setattr("byol_a.data.mp3._WINDOW", window)
        with path.open("rb", buffering=0) as file:
            first = find_first_frame(file)
            assert first is not None
            counts.add(count_frames(file, first))
    assert len(counts) == 1
    ((frames, length),) = counts
    assert 0.9 * len(whole) < length <= len(whole) and frames > 50


def test_an_mp3_segment_is_exact_wherever_it_starts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "low.mp3"
    soundfile.write(path, make_sound(22050, 20.0), 22050, compression_level=0.9)
    whole = read_audio(path, 22050)
    for start in np.random.default_rng(0).integers(0, len(whole), 40):
        segment = read_segment(path, int(start), 3000, 22050)
        np.testing.assert_allclose(segment, whole[start : start + 3000], atol=1e-5)
    assert capfd.readouterr().err == ""


# --- lengths that were never written ---


@pytest.mark.parametrize("promise", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF, 0xFFFFFFDB])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(tmp_path: Path, promise: int) -> None:
    path = tmp_path / "pipe.wav"
    soundfile.write(path, make_sound(16000), 16000)
    expected = read_audio(path)
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", min(promise + 36, 0xFFFFFFFF))
    data[40:44] = struct.pack("<I", promise)
    path.write_bytes(data)
    assert audio_info(path).frames == len(expected)
    np.testing.assert_array_equal(read_audio(path), expected)
    np.testing.assert_array_equal(read_segment(path, 50, 99), expected[50:149])


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "unknown.flac"
    soundfile.write(path, make_sound(16000), 16000)
    expected = read_audio(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the number of samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    assert audio_info(path).frames == len(expected)
    np.testing.assert_array_equal(read_audio(path), expected)
    np.testing.assert_array_equal(read_segment(path, 5000, 1000, info=audio_info(path)), expected[5000:6000])


# --- what cannot be used ---


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", [0.95, 0.5, 0.1])
def test_a_truncated_file_is_said_to_be_truncated(sounds: Path, tmp_path: Path, name: str, kept: float) -> None:
    data = (sounds / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(kept * len(data))])
    assert reason_of(path).startswith("truncated: ")
    with pytest.raises(AudioError, match="truncated: "):
        list(stream_audio(path))


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_fails_in_a_segment_that_is_missing(sounds: Path, tmp_path: Path, name: str) -> None:
    data = (sounds / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match="truncated: "):
        read_segment(path, 48000, 8000)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kept", range(1, 64, 7))
def test_a_few_first_bytes_are_never_read_as_sound(sounds: Path, tmp_path: Path, name: str, kept: int) -> None:
    path = tmp_path / name
    path.write_bytes((sounds / name).read_bytes()[:kept])
    assert reason_of(path).partition(":")[0] in ("truncated", "not audio", "empty")


def test_other_chunks_do_not_make_a_wav_truncated(tmp_path: Path) -> None:
    path = tmp_path / "chunks.wav"
    soundfile.write(path, make_sound(16000), 16000)
    data = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"hello\0"  # an odd size is padded
    path.write_bytes(data[:12] + odd + data[12:] + odd)
    assert len(read_audio(path)) == 16000 * SECONDS


def test_an_ogg_ended_between_two_pages_is_whole(sounds: Path, tmp_path: Path) -> None:
    data = (sounds / "vorbis.ogg").read_bytes()
    path = tmp_path / "broadcast.ogg"
    path.write_bytes(data[: data.rindex(b"OggS")])
    assert 0 < len(read_audio(path)) <= 16000 * SECONDS


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "raw"])
def test_what_is_not_audio(tmp_path: Path, capfd: pytest.CaptureFixture[str], extension: str) -> None:
    path = tmp_path / f"letter.{extension}"
    path.write_text("Dear reader, this is not sound. " * 300)
    assert reason_of(path).startswith("not audio: ")
    path.write_bytes(b"\xff\xfb\x90\xc4" + bytes(5000))  # one MPEG header, then nothing
    assert reason_of(path).partition(":")[0] in ("not audio", "truncated", "empty")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "magic", [b"fLaC", b"RIFF\x00\x10\x00\x00WAVE", b"FORM\x00\x00\x10\x00AIFF", b"OggS\x00", b"ID3\x04"]
)
def test_random_bytes_behind_a_true_beginning(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "noise.bin"
    path.write_bytes(magic + np.random.default_rng(0).bytes(20000))
    assert reason_of(path).partition(":")[0] in ("not audio", "truncated")


def test_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "nothing.wav"
    path.touch()
    assert reason_of(path) == "empty"
    for name in ("none.wav", "none.aiff"):
        soundfile.write(tmp_path / name, np.zeros(0, np.float32), 16000)
        assert reason_of(tmp_path / name) == "empty: no samples"
        with pytest.raises(AudioError, match="empty"):
            audio_info(tmp_path / name)


def test_unreadable_paths(tmp_path: Path) -> None:
    assert reason_of(tmp_path) == "unreadable: it is a folder"
    assert reason_of(tmp_path / "gone.wav") == "unreadable: no such file or directory"
    os.mkfifo(tmp_path / "pipe.wav")
    assert reason_of(tmp_path / "pipe.wav") == "unreadable: not a regular file"


def test_a_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    soundfile.write(path, make_sound(16000), 16000)
    path.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # permissions do not bind the superuser
    try:
        assert reason_of(path) == "unreadable: permission denied"
    finally:
        if superuser:
            os.seteuid(0)


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "contains NaN"), (np.inf, "contains infinity")])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_not_numbers(tmp_path: Path, value: float, reason: str, channels: int) -> None:
    sound = make_sound(44100, channels=channels)
    sound[70000, -1] = value
    path = tmp_path / "holes.wav"
    soundfile.write(path, sound, 44100, subtype="FLOAT")
    assert reason_of(path) == reason
    with pytest.raises(AudioError, match=reason):
        list(stream_audio(path))


def test_an_unsupported_kind_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(5000))
    assert reason_of(path).startswith("unsupported: .m4a")


def test_no_file_stays_open(sounds: Path, tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc to count open files")
    bad = tmp_path / "bad.wav"
    bad.write_bytes((sounds / "pcm16.wav").read_bytes()[:1000])
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        for name in NAMES:
            read_segment(sounds / name, 0, 100)
            next(stream_audio(sounds / name, block_seconds=0.1))
        reason_of(bad)
    assert len(list(descriptors.iterdir())) == before


# --- wrong use, and arrays from elsewhere ---


@pytest.mark.parametrize(("start", "length"), [(-1, 10), (0, -1)])
def test_negative_segments_are_refused(sounds: Path, start: int, length: int) -> None:
    with pytest.raises(UsageError):
        read_segment(sounds / "pcm16.wav", start, length)


def test_one_open_file_gives_many_segments(sounds: Path) -> None:
    whole = read_audio(sounds / "vorbis.ogg")
    with open_audio(sounds / "vorbis.ogg") as audio:
        for start in (30000, 0, 12345):
            np.testing.assert_allclose(audio.segment(start, 500, 16000), whole[start : start + 500], atol=1e-5)


def test_to_mono() -> None:
    stereo = make_sound(16000, 0.1, channels=2)
    for given_shape in (stereo, stereo.T, torch.from_numpy(stereo), stereo.astype(np.float64)):
        mono = to_mono(given_shape)
        assert mono.dtype == np.float32
        np.testing.assert_allclose(mono, stereo.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(to_mono([0.5, -0.5]), np.float32([0.5, -0.5]))
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        np.testing.assert_allclose(to_mono(np.array([limits.min, 0, limits.max], dtype)), [-1, 0, 1], atol=0.01)
    np.testing.assert_allclose(to_mono(np.array([0, 128, 255], np.uint8)), [-1, 0, 1], atol=0.01)
    for wrong in (
        np.zeros((2, 3, 4)),
        np.zeros(3, complex),
        np.zeros(3, np.int64),
        np.float32(1.0),
        np.array(["a"]),
    ):
        with pytest.raises(UsageError):
            to_mono(wrong)


def test_resample_refuses_what_it_cannot_do() -> None:
    for wave, rates in (
        (np.zeros((2, 9)), (8000, 16000)),
        (np.zeros(9), (0, 16000)),
        (np.zeros(9), (8000, -1)),
    ):
        with pytest.raises(UsageError):
            resample(wave, *rates)
    assert resample(np.zeros(0), 8000, 16000).shape == (0,)
