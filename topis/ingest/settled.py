"""What an archive has settled on with its first rows, and cannot change afterwards."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from topis.errors import InputError


class Settled:
    """Values by name, kept in the archive; the first one given stands."""

    def __init__(self, archive: Path) -> None:
        self._path = archive / "settled.json"
        self._values: dict[str, str] = {}
        if self._path.exists():
            try:
                stored = json.loads(self._path.read_text())
                self._values = {str(name): str(value) for name, value in stored.items()}
            except (OSError, ValueError, AttributeError) as error:
                raise InputError.at(
                    self._path, f"not a table of settings ({error})", "restore it from a backup"
                ) from None

    def keep(self, name: str, value: str, complaint: str) -> None:
        """Settle on this value, lastingly.

        Raises
        ------
        InputError
            With that complaint: another value stands.
        """
        if self._values.setdefault(name, value) != value:
            raise InputError(complaint)
        write_whole(self._path, self._values)


def write_whole(path: Path, content: object) -> None:
    """JSON, whole or not at all; nothing is done where it is there already."""
    text = json.dumps(content, ensure_ascii=False, indent=0, sort_keys=True)
    if path.exists() and path.read_text() == text:
        return
    draft = path.with_name(f"{path.name}.draft")
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def file_hash(path: Path) -> str:
    """Of a file's content.

    Raises
    ------
    InputError
        It cannot be read.
    """
    digest = hashlib.blake2b(digest_size=12)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None
    return digest.hexdigest()
