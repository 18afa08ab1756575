"""Tar archives damaged in any way: members that lie within them under harmless names, or a reason; no error at all."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byol_a.data.io import open_audio
from byol_a.data.tar import holds_member, list_tar
from byol_a.errors import AudioError

from .budget import fuzz, memory_limit, time_limit
from .mutations import NUMBERS, Mutation, mutate, mutations
from .sounds import sounds

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
KINDS = ["pcmu8.wav", "opus.opus", "bare.mp3"]


def archive(layout: int) -> bytes:
    """Three sounds; a long name and one that is not ASCII, for which the formats have headers of their own."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=layout) as tar:
        for name in ("a.wav", "x" * 90 + "/" + "y" * 60 + ".opus", "b.mp3"):
            data = sounds()[next(kind for kind in KINDS if kind[-4:] == name[-4:])]
            member = tarfile.TarInfo(name if layout == tarfile.USTAR_FORMAT else name.replace("b", "ö"))
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


ARCHIVES = {layout: archive(layout) for layout in FORMATS}


@cache
def members() -> dict[bytes, tuple[int, int]]:
    """Where the members of all undamaged archives are."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for layout, data in ARCHIVES.items():
            path = Path(folder) / f"{layout}.tar"
            path.write_bytes(data)
            found |= list_tar(str(path)).members
    return found


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tar") / "damaged.tar"


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with memory_limit():
        yield


def check(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    with time_limit():
        listing = list_tar(str(path))
        for name, (offset, size) in listing.members.items():
            assert 0 <= offset <= offset + size <= len(data)
            assert name and b"\0" not in name and not name.startswith(b"/") and b".." not in name.split(b"/")
            with suppress(AudioError), open_audio(path, section=(offset, size)) as audio:
                audio.whole(16000)
        assert all(isinstance(reason, str) for _, reason in listing.bad_members.values())
        with path.open("rb", buffering=0) as file:
            for name, place in {**members(), **listing.members}.items():  # is it still where it was?
                assert holds_member(file, name, *place) in (True, False)
    return len(listing.members)


def with_checksums(data: bytes) -> bytes:
    """Headers with the checksums that belong to them, so that damage gets past them."""
    mended = bytearray(data)
    for at in range(0, len(mended) - 511, 512):
        if mended[at + 257 : at + 262] == b"ustar":
            mended[at + 148 : at + 156] = b" " * 8
            mended[at + 148 : at + 156] = b"%06o\0 " % sum(mended[at : at + 512])
    return bytes(mended)


@fuzz(300)
@given(layout=st.sampled_from(FORMATS), changes=mutations(list(ARCHIVES.values())), mend=st.booleans())
def test_damaged_archives(path: Path, layout: int, changes: list[Mutation], mend: bool) -> None:
    data = mutate(ARCHIVES[layout], changes)
    check(path, with_checksums(data) if mend else data)


FIELDS = {"name": (0, 100), "size": (124, 12), "mtime": (136, 12), "type": (156, 1), "link": (157, 100)}
FIELDS |= {"prefix": (345, 155)}
NUMERALS = st.one_of(
    st.sampled_from(NUMBERS).map(lambda number: b"\x80" + number.to_bytes(11, "big")),
    st.sampled_from(NUMBERS).map(lambda number: b"\xff" + (-number % 256**11).to_bytes(11, "big")),
    st.integers(0, 8**11 - 1).map(lambda number: b"%011o\0" % number),
    st.binary(min_size=12, max_size=12),
)
TEXTS = st.sampled_from(
    [b"../../x.wav", b"/etc/x.wav", b"a/../../b.wav", b"\xff\xfe.wav", b"", b".", b"..", b"x\n.wav"]
)
TYPES = st.sampled_from([bytes([kind]) for kind in b"0123456789LKxgSVM\0"])


@fuzz(300)
@given(layout=st.sampled_from(FORMATS), data=st.data())
def test_forged_headers(path: Path, layout: int, data: st.DataObject) -> None:
    forged = bytearray(ARCHIVES[layout])
    headers = [at for at in range(0, len(forged), 512) if forged[at + 257 : at + 262] == b"ustar"]
    for _ in range(data.draw(st.integers(1, 3))):
        begin, length = FIELDS[data.draw(st.sampled_from(sorted(FIELDS)))]
        value = data.draw(NUMERALS if length == 12 else TYPES if length == 1 else TEXTS)
        at = data.draw(st.sampled_from(headers)) + begin
        forged[at : at + length] = value.ljust(length, b"\0")[:length]
    check(path, with_checksums(bytes(forged)))


RECORDS = st.dictionaries(
    st.sampled_from(["path", "size", "linkpath", "GNU.sparse.size", "GNU.sparse.map", "GNU.sparse.major"]),
    st.one_of(st.text(max_size=20), st.sampled_from(NUMBERS).map(str), st.just("../../x.wav")),
    min_size=1,
)


@fuzz(100)
@given(records=RECORDS)
def test_forged_extended_headers(path: Path, records: dict[str, str]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("a.wav")
        member.size = len(sounds()["pcmu8.wav"])
        member.pax_headers = records
        tar.addfile(member, io.BytesIO(sounds()["pcmu8.wav"]))
    check(path, stream.getvalue())


@pytest.mark.parametrize("layout", FORMATS)
def test_undamaged_all_members_are_found(path: Path, layout: int) -> None:
    assert check(path, ARCHIVES[layout]) == 3
