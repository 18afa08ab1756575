"""Which files are audio, by their extension."""

from __future__ import annotations

AUDIO_EXTENSIONS: frozenset[str] = frozenset(
    (
        ".aif",
        ".aifc",
        ".aiff",
        ".au",
        ".caf",
        ".flac",
        ".mp3",
        ".oga",
        ".ogg",
        ".opus",
        ".rf64",
        ".snd",
        ".w64",
    )
) | {".wav", ".wave"}
"""What is taken from a folder: the containers that libsndfile decodes, by lower-case extension."""

UNSUPPORTED_EXTENSIONS: frozenset[str] = frozenset(
    (".3gp", ".aac", ".ac3", ".ape", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma", ".wv")
)
"""Audio or video that libsndfile cannot decode: left out of a walk, but never silently."""


def unsupported_reason(extension: str) -> str:
    """Why a file with this extension is not read, for a report."""
    return f"unsupported: {extension} cannot be decoded, convert it to wav, flac, ogg or mp3"
