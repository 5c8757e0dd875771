"""A page in a file: the JSON array that Intacct sent, compressed.

The rows of a page repeat their field names and much else: compressed they take a tenth of the room,
or less. That costs less than it takes a system to find room for them, holds up no other thread, and
DuckDB reads them as fast as plain ones.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: What the names of pages end with: DuckDB tells by it how to read them.
PAGE: Final = ".json.zst"

_LEVEL: Final = 1  # the fastest by which DuckDB reads no slower


def write_page(file: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Writes the bytes of one JSON array, which come in `parts`."""
    compressor = zstd.ZstdCompressor(level=_LEVEL)
    compressed = [compressor.compress(part) for part in parts]
    file.write_bytes(b"".join((*compressed, compressor.flush())))


def page_bytes(file: Path) -> bytes:
    """The bytes of the JSON array. Raises OSError, and ValueError where the file is damaged."""
    try:
        return zstd.decompress(file.read_bytes())
    except zstd.ZstdError as error:
        raise ValueError(f"{file} is damaged: {error}") from None


def json_bytes(file: Path, at_once: int) -> Iterator[bytes]:
    """Yield the bytes of a JSON array, of a page or of a plain file, `at_once` of them.

    Raises OSError, and ValueError where the file is damaged.
    """
    try:
        with zstd.open(file, "rb") if file.name.endswith(PAGE) else file.open("rb") as content:
            while part := content.read(at_once):
                yield part
    except (EOFError, zstd.ZstdError) as error:
        raise ValueError(f"{file} is damaged: {error}") from None


def pack(file: Path, into: Path) -> None:
    """Copies a file with a JSON array, a page or a plain one, compressed: a little at a time."""
    if file.name.endswith(PAGE):
        shutil.copyfile(file, into)
        return
    with file.open("rb") as content, zstd.open(into, "wb") as packed:
        shutil.copyfileobj(content, packed)


def unpack(file: Path, into: Path) -> None:
    """The other way round. Raises OSError, and ValueError where the file is damaged."""
    try:
        with zstd.open(file, "rb") as packed, into.open("wb") as content:
            shutil.copyfileobj(packed, content)
    except (EOFError, zstd.ZstdError) as error:
        raise ValueError(str(error)) from None
