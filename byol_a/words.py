"""Small pieces of what is said to people."""

from __future__ import annotations


def one_line(error: BaseException) -> str:
    """What an error says, without its line breaks."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """Text that may quote a file's name, which may hold line breaks, and what a terminal takes for commands."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def counted(number: int, noun: str) -> str:
    """A number of things: 1 file, 2 files."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
