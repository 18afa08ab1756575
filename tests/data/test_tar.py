"""Audio in tar archives: where members lie, and what damaged and hostile archives come to."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from byol_a.data import section as sections
from byol_a.data.io import open_audio, read_audio
from byol_a.data.tar import holds_member, is_tar, list_tar, split_archive
from byol_a.errors import AudioError


def add(archive: tarfile.TarFile, name: str, data: bytes = b"sound", **attributes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in attributes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data) if member.isreg() else None)


def make(path: Path, *names: str, format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=format) as archive:
        for name in names:
            add(archive, name, name.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_lie_where_the_listing_says(tmp_path: Path, format: int) -> None:
    long = "d" * 90 + "/" + "f" * 90 + ".flac"
    names = ["a.wav", "deep/er/b.FLAC", long, "clip.json", "label.txt", ".hidden.wav", "._a.wav", "./c.ogg"]
    path = make(tmp_path / "s.tar", *names, format=format)
    listing = list_tar(str(path))
    assert listing.error is None
    assert not listing.bad_members
    assert list(listing.members) == [b"a.wav", b"deep/er/b.FLAC", long.encode(), b"c.ogg"]
    data = path.read_bytes()
    for name, (offset, size) in listing.members.items():
        assert data[offset : offset + size].removeprefix(b"./") == name


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_a_member_sounds_like_the_file(tmp_path: Path, write_wav: Callable[..., Path], kind: str) -> None:
    import soundfile

    wave, rate = soundfile.read(write_wav(tmp_path / "a.wav", seconds=0.5))
    file = tmp_path / f"sound.{kind.lower()}"
    soundfile.write(file, wave, rate, format=kind)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.wav", "before.wav")
        archive.add(file, file.name)
    section = list_tar(str(tmp_path / "s.tar")).members[file.name.encode()]
    with open_audio(tmp_path / "s.tar", section=section) as audio:
        np.testing.assert_array_equal(audio.whole(16000), read_audio(file))


KINDS = ["WAV", "W64", "FLAC", "VORBIS", "OPUS", "AIFF", "AU", "CAF", "GSM", "PIPED WAV", "RF64"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_of_a_member_gives_what_a_copy_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    import soundfile

    subtypes = {
        "VORBIS": ("OGG", "VORBIS"),
        "OPUS": ("OGG", "OPUS"),
        "GSM": ("WAV", "GSM610"),
        "PIPED WAV": ("WAV", None),
    }
    container, subtype = subtypes.get(kind, (kind, None))
    wave = 0.2 * np.random.default_rng(0).standard_normal(48000)
    data = io.BytesIO()
    soundfile.write(data, wave, 24000, subtype, format=container)
    sound = bytearray(data.getvalue())
    if kind == "PIPED WAV":  # whose sizes could not be filled in
        sound[4:8], sound[40:44] = b"\0" * 4, b"\0" * 4
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        add(archive, "before.wav", b"RIFF" * 300)
        add(archive, "a.wav", bytes(sound))
        add(archive, "after.wav", b"RIFF" * 300)
    section = list_tar(str(tmp_path / "s.tar")).members[b"a.wav"]
    found = []
    for largest in (1 << 30, 0):
        monkeypatch.setattr(sections, "_LARGEST_COPY", largest)
        with open_audio(tmp_path / "s.tar", section=section) as audio:
            assert isinstance(audio._raw, sections.Section) == (largest == 0)
            parts = [audio.segment(start, 3000, 16000) for start in (20000, 500, 31000, 3500)]
            found.append((audio.info, audio.size, np.concatenate([*parts, audio.whole(24000)])))
        assert audio._raw.closed
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])


def test_a_large_mp3_in_an_archive_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    monkeypatch.setattr(sections, "_LARGEST_COPY", 0)
    soundfile.write(tmp_path / "a.mp3", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(tmp_path / "a.mp3", "a.mp3")
    with open_audio(tmp_path / "s.tar", section=list_tar(str(tmp_path / "s.tar")).members[b"a.mp3"]) as audio:
        np.testing.assert_array_equal(audio.whole(16000), read_audio(tmp_path / "a.mp3"))


@pytest.mark.parametrize("largest", [0, 1 << 30])
def test_a_damaged_member_is_named_as_the_file_would_be(
    tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(sections, "_LARGEST_COPY", largest)
    whole = write_wav(tmp_path / "a.wav").read_bytes()
    for data, reason in ((whole[:9000], "truncated: 9000 of 32044 bytes"), (b"text" * 99, "not audio"), (b"", "empty")):
        with tarfile.open(tmp_path / "s.tar", "w") as archive:
            add(archive, "a.wav", data)
        with pytest.raises(AudioError) as caught:
            open_audio(tmp_path / "s.tar", section=(512, len(data)))
        assert caught.value.reason.startswith(reason)


@pytest.mark.parametrize("largest", [0, 1 << 30])
def test_an_archive_that_is_cut_while_it_is_read(
    tmp_path: Path, write_wav: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        archive.add(write_wav(tmp_path / "a.wav"), "a.wav")
    section = list_tar(str(tmp_path / "s.tar")).members[b"a.wav"]
    look = os.fstat

    def then_cut(descriptor: int) -> os.stat_result:
        status = look(descriptor)
        os.truncate(tmp_path / "s.tar", 5000)
        return status

    monkeypatch.setattr(sections, "_LARGEST_COPY", largest)
    monkeypatch.setattr(sections.os, "fstat", then_cut)
    with pytest.raises(AudioError, match="truncated"), open_audio(tmp_path / "s.tar", section=section) as audio:
        audio.whole(16000)


NAMES = ["a.wav", "./b.wav", "x//y/./c.wav", "d" * 90 + "/" + "f" * 90 + ".flac", "g" * 300 + ".wav", "ü.wav"]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_holds_what_its_listing_says(tmp_path: Path, format: int) -> None:
    names = [name for name in NAMES if format != tarfile.USTAR_FORMAT or len(name) < 256]
    names += ["caf\udce9.wav"] * (format != tarfile.USTAR_FORMAT)
    members = list_tar(str(make(tmp_path / "s.tar", *names, format=format))).members
    assert len(members) == len(names)
    with (tmp_path / "s.tar").open("rb") as archive:
        for name, (offset, size) in members.items():
            assert holds_member(archive, name, offset, size)
            assert not holds_member(archive, name, offset, size + 1)
            assert not holds_member(archive, name, offset + 512, size)
            assert not holds_member(archive, b"0" + name, offset, size)
            for other, (other_offset, _) in members.items():
                assert holds_member(archive, name, other_offset, size) == (name == other)
        assert not holds_member(archive, b"a.wav", 0, 5)
        assert not holds_member(archive, b"a.wav", 1 << 30, 5)


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_beyond_what_a_header_can_say(format: int) -> None:
    member = tarfile.TarInfo("hours.wav")
    member.size = 9 << 30
    header = member.tobuf(format)  # type: ignore[arg-type]
    assert holds_member(io.BytesIO(header), b"hours.wav", len(header), 9 << 30)
    assert not holds_member(io.BytesIO(header), b"hours.wav", len(header), 8 << 30)


def test_the_last_of_several_members_of_one_name_counts(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        add(archive, "a.wav", b"old")
        add(archive, "b.wav", b"b")
        add(archive, "./a.wav", b"newer")
    members = list_tar(str(tmp_path / "s.tar")).members
    assert list(members) == [b"b.wav", b"a.wav"]
    assert members[b"a.wav"][1] == len(b"newer")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = make(tmp_path / "s.tar", "caf\udce9.wav", format=tarfile.GNU_FORMAT)
    assert list(list_tar(str(path)).members) == [b"caf\xe9.wav"]


def test_what_leads_out_of_an_archive_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        add(archive, "good.wav")
        add(archive, "/etc/absolute.wav")
        add(archive, "../secret.wav")
        add(archive, "a/../../secret.wav")
        add(archive, "symbolic.wav", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.wav"))
        add(archive, "hard.wav", b"", type=tarfile.LNKTYPE, linkname="../secret.wav")
        add(archive, "device.wav", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=5)
        add(archive, "pipe.wav", b"", type=tarfile.FIFOTYPE)
        add(archive, "folder.wav", b"", type=tarfile.DIRTYPE)
        add(archive, "link-to-text", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "song.m4a")
    listing = list_tar(str(tmp_path / "s.tar"))
    assert list(listing.members) == [b"good.wav"]
    assert listing.error is None
    reasons = {name: reason for name, (_, reason) in listing.bad_members.items()}
    assert set(reasons) == {
        b"%2F/etc/absolute.wav",
        b"%2E%2E/secret.wav",
        b"a/%2E%2E/%2E%2E/secret.wav",
        b"symbolic.wav",
        b"hard.wav",
        b"device.wav",
        b"pipe.wav",
        b"song.m4a",
    }
    assert all(reason.startswith("unsupported: ") for reason in reasons.values())
    assert "'../secret.wav' leads out" in reasons[b"%2E%2E/secret.wav"]
    assert "link" in reasons[b"hard.wav"]
    assert "device" in reasons[b"pipe.wav"]


def test_a_forged_size_does_not_lead_around_in_circles(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        for name in "abc":
            add(archive, f"{name}.wav")
    data = bytearray((tmp_path / "s.tar").read_bytes())
    header = data[1024:1536]
    header[124:136] = (256**12 - 1024).to_bytes(12, "big")  # -1024 in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[1024:1536] = header
    (tmp_path / "s.tar").write_bytes(data)
    listing = list_tar(str(tmp_path / "s.tar"))
    assert list(listing.members) == [b"a.wav"]
    assert listing.error is not None
    assert listing.error.startswith("truncated: the archive is damaged")


def test_a_cut_archive_gives_the_members_before_the_cut(tmp_path: Path) -> None:
    names = [f"{number}.wav" for number in range(10)]
    data = make(tmp_path / "whole.tar", *names).read_bytes()
    cut = tmp_path / "cut.tar"
    for end in (0, 1, 511, 512, 513, 514, 1023, 1024, 1025, 5000, 9 * 1024, 10 * 1024, 10 * 1024 + 200):
        cut.write_bytes(data[:end])
        listing = list_tar(str(cut))
        # Of 512 bytes of header and 512 of data a member of 5 bytes needs the first 517.
        assert len(listing.members) == min(10, max(0, (end + 1024 - 517) // 1024))
        assert listing.error is not None
        assert listing.error.partition(":")[0] == ("empty" if end == 0 else "truncated" if end >= 512 else "not audio")
    cut.write_bytes(data[: 11 * 1024])  # the end mark is whole, the padding after it is not
    assert list_tar(str(cut)).error is None


def test_damage_in_the_middle_is_not_taken_for_the_end(tmp_path: Path) -> None:
    data = make(tmp_path / "whole.tar", *(f"{number}.wav" for number in range(10))).read_bytes()
    for seed in range(50):
        damaged = bytearray(data)
        place = random.Random(seed).randrange(5)
        at = place * 1024 + random.Random(seed).randrange(148)  # in what the checksum of a header covers
        damaged[at] ^= 1 << random.Random(seed).randrange(8)
        (tmp_path / "s.tar").write_bytes(damaged)
        listing = list_tar(str(tmp_path / "s.tar"))
        assert len(listing.members) == place
        assert listing.error is not None


def test_what_is_no_archive_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("this is not an archive. " * 100)
    (tmp_path / "compressed.tar").write_bytes(gzip.compress(make(tmp_path / "s.tar", "a.wav").read_bytes()))
    with tarfile.open(tmp_path / "nothing.tar", "w"):
        pass
    os.mkfifo(tmp_path / "pipe.tar")
    errors = {name: list_tar(str(tmp_path / f"{name}.tar")).error for name in ("text", "compressed", "nothing", "pipe")}
    assert errors["text"] == "not audio: not a tar archive"
    assert errors["compressed"] is not None
    assert "decompress it to .tar" in errors["compressed"]
    assert errors["nothing"] is None
    assert errors["pipe"] == "unreadable: not a regular file"
    assert list_tar(str(tmp_path / "gone.tar")).error == "unreadable: no such file or directory"


def test_the_archive_in_a_joined_name(tmp_path: Path) -> None:
    assert is_tar("a/S.TAR")
    assert not is_tar("a.tar.gz")
    assert split_archive("/d/s.tar/a/b.wav") == ("/d/s.tar", "a/b.wav")
    assert split_archive("/d/S.TAR/b.wav") == ("/d/S.TAR", "b.wav")
    assert split_archive("/d/s.wav") is None
    (tmp_path / "folder.tar").mkdir()
    inner = make(tmp_path / "folder.tar" / "s.tar", "x.tar/a.wav")
    assert split_archive(f"{inner}/x.tar/a.wav") == (str(inner), "x.tar/a.wav")
