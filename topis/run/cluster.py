"""The shards of a replay on a Dask cluster: retries, lost workers and the dashboard are Dask's.

All workers must see the archive, and the folder that holds ``--out`` at the same path. A shard
done twice is done once: the first whole one stays (`topis.run.shards.run_shard`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from topis.errors import InputError, TopisError
from topis.run.shards import Shard, run_shard, shard_folder
from topis.run.workers import Done, Tell

#: A shard survives so many workers that are lost with it (Dask: 3, too few for machines that
#: are taken away at any time).
ALLOWED_FAILURES = 10
RETRIES = 2


def work_on_cluster(
    work: Path, shards: Sequence[Shard], address: str, workers: int, tell: Tell
) -> None:
    """On a Dask cluster: ``local``, or a scheduler's address (``tcp://host:8786``).

    Raises
    ------
    InputError
        Dask is not installed, there is no such scheduler, or workers do not see the folder.
    TopisError
        A shard cannot be done.
    """
    try:
        import dask
        import distributed
    except ImportError:
        raise InputError(
            'Dask is not installed; install TOPIS with its extra: pip install "topis[cluster]"'
        ) from None
    done = Done(shards)
    often = dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_FAILURES})
    with often, _client(distributed, address, workers) as client:
        futures = {
            client.submit(_do, work, shard, key=f"{work.name}-{shard.name}", retries=RETRIES): shard
            for shard in shards
        }
        try:
            for future in _as_completed(distributed, futures):
                shard = futures[future]
                _settle(future.exception(), shard)
                if not shard_folder(work, shard).is_dir():
                    raise InputError.at(
                        work, f"shard {shard.name} is done and not here",
                        "workers need this folder at the same path (a shared file system)",
                    )  # fmt: skip
                done.tell(shard.name, shard.end_ms, future.result())
                tell(done)
        finally:
            client.cancel(list(futures))


def _as_completed(distributed: Any, futures: Any) -> Any:
    return distributed.as_completed(futures)


def _do(work: Path, shard: Shard) -> int:
    """Rows read."""
    rows = 0

    def count(_: int, so_far: int) -> None:
        nonlocal rows
        rows = so_far

    run_shard(work, shard, count)
    return rows


def _settle(error: BaseException | None, shard: Shard) -> None:
    if isinstance(error, TopisError):
        raise error
    if error is not None:
        raise TopisError(f"shard {shard.name}: {error}")


def _client(distributed: Any, address: str, workers: int) -> Any:
    if address == "local":
        return distributed.Client(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, processes=True
        )
    try:
        return distributed.Client(address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            f"--cluster {address}: no scheduler answers ({error}); give local, or the address "
            "that dask scheduler prints"
        ) from None
