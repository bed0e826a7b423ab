"""Where an archive lies, for reading: a folder, or an address (``s3://``, ``hdfs://``, ...).

What is asked for is what is listed: an hour of a feed costs one call, however large the archive.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from topis.errors import InputError
from topis.ingest.archive import Partition
from topis.units import MS_PER_HOUR

#: A Parquet file ends with its footer, the footer's length (4 bytes) and "PAR1".
_TAIL_BYTES = 8


class ArchiveFiles:
    """Files of an archive, by what they hold.

    Parameters
    ----------
    place
        A folder, or an address that Arrow's file systems know, with its options:
        ``s3://bucket/archive?region=ap-northeast-2``.

    Raises
    ------
    InputError
        There is no such folder, or it may not be read.
    """

    def __init__(self, place: str | Path) -> None:
        text = str(place)
        self._fs: Any
        if "://" in text:
            #: As it may be shown: options may hold keys.
            self.place = _shown(text)
            try:
                self._fs, self._base = pafs.FileSystem.from_uri(text)
            except (OSError, pa.ArrowInvalid, ValueError) as error:
                raise InputError.at(
                    self.place, f"is no address of an archive ({_short(error)})",
                    "write s3://bucket/folder, hdfs://host/folder or a path",
                ) from None  # fmt: skip
        else:
            self.place = text
            self._fs, self._base = pafs.LocalFileSystem(), str(Path(text).absolute())
        self._base = self._base.rstrip("/")
        self.name = self._base.rpartition("/")[2]
        self._listed: dict[tuple[str, int], list[int]] = {}
        if self._info("").type != pafs.FileType.Directory:
            raise InputError.at(
                self.place, "no such folder", "name an archive that topis ingest wrote"
            )

    def districts(self, feed: str, hour: int) -> list[int]:
        """Districts that have rows of a feed in an hour since 1970, ascending.

        Raises
        ------
        InputError
            The archive cannot be listed.
        """
        key = (feed, hour)
        if key not in self._listed:
            folder = Partition.at(feed, hour * MS_PER_HOUR, 0).folder.parent.as_posix()
            names = [info.base_name for info in self._list(folder)]
            self._listed[key] = sorted(
                int(name.removeprefix("district=")) for name in names if _is_district(name)
            )
        return self._listed[key]

    def hours(self, feed: str) -> list[int]:
        """All hours since 1970 that have a folder of the feed, ascending; lists the whole feed."""
        found = []
        for info in self._list(f"feed={feed}", recursive=True):
            date, _, hour = info.path.rpartition("/date=")[2].partition("/hour=")
            if info.type == pafs.FileType.Directory and hour.isdigit():
                found.append(int(np.datetime64(date, "h").astype(np.int64)) + int(hour))
        return sorted(set(found))

    def open(self, name: str) -> Any:
        """A file to read from, by its path below the archive.

        Raises
        ------
        OSError
            It cannot be.
        """
        return self._fs.open_input_file(f"{self._base}/{name}")

    def parquet(self, name: str) -> pq.ParquetFile:
        """A partition to read from, by its path below the archive.

        Raises
        ------
        OSError, pyarrow.ArrowInvalid
            It is missing or damaged.
        """
        return pq.ParquetFile(self.open(name))

    def text(self, name: str) -> str | None:
        """A small file's text; None where it is missing.

        Raises
        ------
        InputError
            It cannot be read.
        """
        if self._info(name).type == pafs.FileType.NotFound:
            return None
        try:
            with self.open(name) as file:
                return str(file.read().decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError.at(
                f"{self.place}/{name}", f"cannot be read ({_short(error)})", "check it"
            ) from None

    def fingerprint(self, name: str) -> str:
        """SHA-256 of a partition's footer: sizes, bounds and sources of all that is in it."""
        with self.open(name) as file:
            size = file.size()
            file.seek(max(size - _TAIL_BYTES, 0))
            tail = file.read()
            footer = int.from_bytes(tail[:4], "little")
            file.seek(max(size - _TAIL_BYTES - footer, 0))
            return hashlib.sha256(file.read()).hexdigest()

    def _info(self, name: str) -> Any:
        try:
            return self._fs.get_file_info(f"{self._base}/{name}".rstrip("/"))
        except OSError as error:
            raise self._unreadable(error) from None

    def _list(self, folder: str, *, recursive: bool = False) -> list[Any]:
        selector = pafs.FileSelector(
            f"{self._base}/{folder}", recursive=recursive, allow_not_found=True
        )
        try:
            return list(self._fs.get_file_info(selector))
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> InputError:
        return InputError.at(
            self.place,
            f"cannot be read ({_short(error)})",
            "check the address, the keys, and that you may read it",
        )


def _is_district(name: str) -> bool:
    return name.startswith("district=") and name.removeprefix("district=").isdigit()


def _shown(address: str) -> str:
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
