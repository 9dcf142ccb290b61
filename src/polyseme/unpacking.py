"""Files on disk or behind a URL that may be packed as gzip, bzip2, xz, zstd or zip.

The packing is recognised by the first bytes. URLs need fsspec, zstd needs zstandard (extra
`corpus`).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, cast

_PACKED = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "bzip2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd"),
    "zip": re.compile(rb"PK\x03\x04"),
}
_AT_ONCE = 1 << 16
_LARGEST_WINDOW = 1 << 31


def is_packed(path: Path) -> bool:
    """Whether a file is gzip, bzip2, xz, zstd or zip, by its first bytes."""
    with path.open("rb") as file:
        return _packing(file) is not None


def is_url(name: str) -> bool:
    """Whether a name is one for fsspec, such as s3://bucket/a.txt."""
    return "://" in name


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of fsspec that a URL is in, and its path there.

    Raises:
        ImportError: fsspec, or what it needs for this kind of URL, is not installed.
        ValueError: nobody knows this kind of URL.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise ImportError(f'{url}: URLs need fsspec: pip install "polyseme[corpus]"') from None
    try:
        found: tuple[Any, str] = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise type(error)(f"{url}: {error}") from None
    return found


@contextmanager
def open_packed(place: Path | str) -> Iterator[BufferedReader]:
    """Open a file, or a URL, for reading as it is."""
    if isinstance(place, Path):
        with place.open("rb") as file:
            yield file
        return
    files, path = filesystem(place)
    with files.open(path, "rb") as remote, BufferedReader(remote, _AT_ONCE) as file:
        yield file


@contextmanager
def open_unpacked(place: Path | str) -> Iterator[BinaryIO]:
    """Open a file or a URL for reading, through gzip, bzip2, xz, zstd or zip if it is packed so.

    Raises:
        ValueError: a zip archive of several files, or packed data that is damaged or cut short.
        ImportError: what reads URLs or zstd is not installed.
    """
    with open_packed(place) as file, unpacked(file, place) as content:
        yield content


@contextmanager
def unpacked(file: BufferedReader, name: Path | str) -> Iterator[BinaryIO]:
    """What is in an open file, through its packing; ``name`` is for errors, see open_unpacked."""
    packing = _packing(file)
    try:
        if packing == "gzip":
            with gzip.open(file) as content:
                yield cast("BinaryIO", content)
        elif packing == "bzip2":
            with bz2.open(file) as content:
                yield cast("BinaryIO", content)
        elif packing == "xz":
            with lzma.open(file) as content:
                yield cast("BinaryIO", content)
        elif packing == "zstd":
            with BufferedReader(_Zstd(file, name), _AT_ONCE) as content:
                yield content
        elif packing == "zip":
            with (
                zipfile.ZipFile(file) as archive,
                archive.open(_only_member(archive, name)) as member,
            ):
                yield cast("BinaryIO", member)
        else:
            yield file
    except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        # What the unpackers raise has no number of the system's; a failing disk's error has.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(
            f"{name}: the packed data is damaged or cut short ({error}); fetch it again"
        ) from error


class _Zstd(RawIOBase):
    """The content of zstd frames, one after the other.

    The reader of zstandard itself ends without a word where the last frame is cut short.
    """

    def __init__(self, file: BufferedReader, name: Path | str) -> None:
        try:
            import zstandard
        except ImportError:
            raise ImportError(
                f'{name}: zstd needs zstandard: pip install "polyseme[corpus]"'
            ) from None
        self._library = zstandard
        self._file = file
        self._frame: Any = None
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._content:
            packed = self._packed or self._file.read(_AT_ONCE)
            if not packed:
                if self._frame is not None:
                    raise EOFError("the last zstd frame has no end")
                return 0
            if self._frame is None:
                window = self._library.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
                self._frame = window.decompressobj()
            try:
                self._content = memoryview(self._frame.decompress(packed))
            except self._library.ZstdError as error:
                raise EOFError(str(error)) from None
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        size = min(len(target), len(self._content))
        target[:size] = self._content[:size]
        self._content = self._content[size:]
        return size


def _packing(file: BufferedReader) -> str | None:
    # A look ahead, since a pipe can't go back.
    magic = file.peek(10)
    return next((name for name, start in _PACKED.items() if start.match(magic)), None)


def _only_member(archive: zipfile.ZipFile, name: Path | str) -> str:
    names = [info.filename for info in archive.infolist() if not info.is_dir()]
    if len(names) != 1:
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise ValueError(
            f"{name}: the archive holds {len(names)} files ({shown}); unpack the one that you want"
        )
    return names[0]
