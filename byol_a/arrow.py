"""Files for Arrow."""

from __future__ import annotations

import os
from typing import Literal

import pyarrow as pa


def arrow_file(path: str | os.PathLike[str], mode: Literal["rb", "wb"] = "rb") -> pa.OSFile:
    """Open a file for Arrow, for use in a `with` statement; raises `OSError` as `open` does.

    It goes by the bytes of its name, as Arrow takes no text that is not UTF-8. A Python file object would not do:
    Arrow's threads may still hold it when the interpreter ends, and abort the process.
    """
    return pa.OSFile(os.fsencode(path), mode)
