"""Small sound files of every kind that the reader takes, as bytes: what damage starts from."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import soundfile

# name: format, subtype, byte order
KINDS = {
    "pcm16.wav": ("WAV", "PCM_16", "FILE"),
    "pcmu8.wav": ("WAV", "PCM_U8", "FILE"),
    "pcm24.wav": ("WAVEX", "PCM_24", "FILE"),
    "float.wav": ("WAV", "FLOAT", "FILE"),
    "double.wav": ("WAV", "DOUBLE", "FILE"),
    "ulaw.wav": ("WAV", "ULAW", "FILE"),
    "ima.wav": ("WAV", "IMA_ADPCM", "FILE"),
    "ms.wav": ("WAV", "MS_ADPCM", "FILE"),
    "gsm.wav": ("WAV", "GSM610", "FILE"),
    "rifx.wav": ("WAV", "PCM_16", "BIG"),
    "pcm16.rf64": ("RF64", "PCM_16", "FILE"),
    "pcm16.w64": ("W64", "PCM_16", "FILE"),
    "pcm16.flac": ("FLAC", "PCM_16", "FILE"),
    "pcm24.flac": ("FLAC", "PCM_24", "FILE"),
    "vorbis.ogg": ("OGG", "VORBIS", "FILE"),
    "opus.opus": ("OGG", "OPUS", "FILE"),
    "tagged.mp3": ("MP3", "MPEG_LAYER_III", "FILE"),
    "pcm16.aiff": ("AIFF", "PCM_16", "FILE"),
    "float.aifc": ("AIFF", "FLOAT", "FILE"),
    "pcm16.au": ("AU", "PCM_16", "FILE"),
    "alaw.au": ("AU", "ALAW", "FILE"),
    "pcm16.caf": ("CAF", "PCM_16", "FILE"),
    "alac.caf": ("CAF", "ALAC_16", "FILE"),
    "pcm16.sph": ("NIST", "PCM_16", "FILE"),
}
RATE, SAMPLES = 16000, 3200


@cache
def sounds() -> dict[str, bytes]:
    """File contents by name: 0.2 s of a noisy tone in two channels (one, where the kind has no more)."""
    time = np.arange(SAMPLES)[:, None] / RATE
    noise = 0.05 * np.random.default_rng(0).standard_normal((SAMPLES, 2))
    wave = 0.3 * np.sin(2 * np.pi * np.array([440, 700]) * time) + noise
    files = {name: _encode(wave, *kind) for name, kind in KINDS.items()}
    # Two more ways an MP3 begins: with a tag for people, and at once with its first frame of sound.
    tagged = files["tagged.mp3"]
    files["id3.mp3"] = b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128) + tagged + b"TAG" + bytes(125)
    files["bare.mp3"] = tagged[tagged.index(tagged[:2], 100) :]
    return files


def _encode(wave: np.ndarray, kind: str, subtype: str, order: str) -> bytes:
    stream = io.BytesIO()
    channels = wave[:, :1] if subtype == "GSM610" else wave
    soundfile.write(stream, channels, RATE, format=kind, subtype=subtype, endian=order)
    return stream.getvalue()
