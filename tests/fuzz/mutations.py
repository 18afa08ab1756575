"""Damage as hypothesis draws it: bytes flipped, numbers overwritten, pieces cut out, put in, repeated, exchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hypothesis import strategies as st

# What breaks parsers: limits of integers of every width, and sizes just beyond what fits into memory.
NUMBERS = sorted(
    {2**bits + step for bits in (0, 7, 8, 15, 16, 24, 30, 31, 32, 36, 40, 48, 62, 63, 64) for step in (-1, 0, 1)}
)
LONGEST = 1 << 20


@dataclass(frozen=True)
class Flip:
    """Other bits at one place."""

    at: int
    bits: int

    def apply(self, data: bytes) -> bytes:
        at = _place(self.at, data)
        return data[:at] + bytes(byte ^ self.bits for byte in data[at : at + 1]) + data[at + 1 :]


@dataclass(frozen=True)
class Number:
    """An integer written over what is there."""

    at: int
    value: int
    width: int
    big_endian: bool

    def apply(self, data: bytes) -> bytes:
        at = _place(self.at, data)
        value = self.value % 256**self.width
        return data[:at] + value.to_bytes(self.width, "big" if self.big_endian else "little") + data[at + self.width :]


@dataclass(frozen=True)
class Cut:
    """Nothing more from here on."""

    at: int

    def apply(self, data: bytes) -> bytes:
        return data[: _place(self.at, data)]


@dataclass(frozen=True)
class Remove:
    """A piece missing."""

    at: int
    length: int

    def apply(self, data: bytes) -> bytes:
        at = _place(self.at, data)
        return data[:at] + data[at + self.length :]


@dataclass(frozen=True)
class Insert:
    """Foreign bytes in between."""

    at: int
    piece: bytes

    def apply(self, data: bytes) -> bytes:
        at = _place(self.at, data)
        return data[:at] + self.piece + data[at:]


@dataclass(frozen=True)
class Repeat:
    """A piece copied to another place."""

    at: int
    length: int
    to: int

    def apply(self, data: bytes) -> bytes:
        at, to = _place(self.at, data), _place(self.to, data)
        return data[:to] + data[at : at + self.length] + data[to:]


@dataclass(frozen=True)
class Splice:
    """The beginning of another file in place of this one's."""

    other: bytes
    length: int

    def apply(self, data: bytes) -> bytes:
        return self.other[: self.length] + data[self.length :]

    def __repr__(self) -> str:
        return f"Splice({self.other[:16]!r}..., {self.length})"


Mutation: TypeAlias = "Flip | Number | Cut | Remove | Insert | Repeat | Splice"


def _place(at: int, data: bytes) -> int:
    """Negative counts from the end; beyond the end wraps around."""
    return at % len(data) if data else 0


def mutations(others: list[bytes]) -> st.SearchStrategy[list[Mutation]]:
    """A few mutations, mostly of headers; `others` are files whose headers may be put in front."""
    places = st.one_of(st.integers(0, 64), st.integers(0, 256), st.integers(0, LONGEST), st.integers(-256, -1))
    lengths = st.one_of(st.integers(1, 16), st.integers(1, 4096))
    one = st.one_of(
        st.builds(Flip, places, st.integers(1, 255)),
        st.builds(
            Number,
            places,
            st.one_of(st.sampled_from(NUMBERS), st.integers(0, 70000)),
            st.sampled_from([1, 2, 4, 8]),
            st.booleans(),
        ),
        st.builds(Cut, places),
        st.builds(Remove, places, lengths),
        st.builds(Insert, places, st.binary(min_size=1, max_size=40)),
        st.builds(Repeat, places, lengths, places),
        *([st.builds(Splice, st.sampled_from(others), st.integers(4, 300))] if others else []),
    )
    return st.lists(one, min_size=1, max_size=6)


def mutate(data: bytes, changes: list[Mutation]) -> bytes:
    """`data` after all `changes`, one after the other."""
    for change in changes:
        data = change.apply(data)
    return data


def with_ogg_checksums(data: bytes) -> bytes:
    """Ogg pages with the checksums that belong to them, so that damage gets past the container to the decoder."""
    mended = bytearray(data)
    at = mended.find(b"OggS") if data[:4] == b"OggS" else -1
    while 0 <= at <= len(mended) - 27:
        segments = mended[at + 26]
        page = mended[at : at + 27 + segments + sum(mended[at + 27 : at + 27 + segments])]
        page[22:26] = bytes(4)
        mended[at + 22 : at + 26] = _ogg_crc(page).to_bytes(4, "little")
        at = mended.find(b"OggS", at + 4)
    return bytes(mended)


def _ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        table.append(crc)
    return table


_CRC_TABLE = _crc_table()
