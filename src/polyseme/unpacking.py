"""Files that may be packed as gzip, bzip2, xz or zip: recognised by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

_PACKED = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zip": re.compile(rb"PK\x03\x04"),
}


def is_packed(path: Path) -> bool:
    """Whether a file is gzip, bzip2, xz or zip, by its first bytes."""
    with path.open("rb") as file:
        return _packing(file) is not None


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip, bzip2, xz or zip if it is packed so.

    Raises:
        ValueError: a zip archive of several files, or packed data that is damaged or cut short.
    """
    with path.open("rb") as file:
        packing = _packing(file)
        try:
            if packing == "gzip":
                with gzip.open(file) as unpacked:
                    yield cast("BinaryIO", unpacked)
            elif packing == "bzip2":
                with bz2.open(file) as unpacked:
                    yield cast("BinaryIO", unpacked)
            elif packing == "xz":
                with lzma.open(file) as unpacked:
                    yield cast("BinaryIO", unpacked)
            elif packing == "zip":
                with (
                    zipfile.ZipFile(file) as archive,
                    archive.open(_only_member(archive, path)) as member,
                ):
                    yield cast("BinaryIO", member)
            else:
                yield file
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            # What the unpackers raise has no number of the system's; a failing disk's error has.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise ValueError(
                f"{path}: the packed data is damaged or cut short ({error}); fetch it again"
            ) from error


def _packing(file: BufferedReader) -> str | None:
    # A look ahead, since a pipe can't go back.
    magic = file.peek(10)
    return next((name for name, start in _PACKED.items() if start.match(magic)), None)


def _only_member(archive: zipfile.ZipFile, path: Path) -> str:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if len(names) != 1:
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise ValueError(
            f"{path}: the archive holds {len(names)} files ({shown}); unpack the one that you want"
        )
    return names[0]
