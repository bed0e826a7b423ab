"""Vehicles' names never get past this: a keyed hash takes their place, another one each day.

Who knows the names can hash them all, so the hash is keyed (BLAKE2b, RFC 7693) with a secret
that lies beside the archive and is not part of it. The day goes into the key: traces of two days
cannot be joined.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from topis.errors import InputError
from topis.ingest.settled import Settled

_MS_PER_DAY = 86_400_000
SECRET_BYTES = 32


class Pseudonyms:
    """Hashes with the secret of a file, which is made when it is not there."""

    def __init__(self, secret_file: Path, settled: Settled) -> None:
        if not secret_file.exists():
            secret_file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
        self._file, self._settled = secret_file, settled
        self._secret = secret_file.read_bytes()
        if len(self._secret) < SECRET_BYTES:
            raise InputError.at(
                secret_file,
                f"holds {len(self._secret)} bytes",
                f"a secret has at least {SECRET_BYTES}; remove the file to get a new one",
            )

    def of(self, names: pa.Array, time_ms: NDArray[np.generic]) -> NDArray[np.uint64]:
        """Pseudonyms of vehicles at times (UTC), uint64[n].

        Raises
        ------
        InputError
            The archive's vehicles were named with another secret.
        """
        self._settled.keep(
            "secret",
            hashlib.blake2b(b"which secret", key=self._secret[:64], digest_size=8).hexdigest(),
            f"{self._file}: the archive's vehicles were named with another secret; name that one "
            "with --secret, or a new archive with --into",
        )
        out = np.zeros(len(names), dtype=np.uint64)
        day = time_ms.astype(np.int64) // _MS_PER_DAY
        encoded = names.dictionary_encode()
        known = encoded.dictionary.to_pylist()
        index = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        for number in np.unique(day).tolist():
            key = hashlib.blake2b(
                f"day {number}".encode(), key=self._secret[:64], digest_size=32
            ).digest()
            hashes = np.array(
                [
                    int.from_bytes(
                        hashlib.blake2b(name.encode(), key=key, digest_size=8).digest(), "little"
                    )
                    for name in known
                ],
                dtype=np.uint64,
            )
            of_day = day == number
            out[of_day] = hashes[index[of_day]]
        return out
