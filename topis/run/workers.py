"""Who works on the shards of a replay: this process, or several on this machine."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from topis.errors import TopisError
from topis.estimation.estimator import WARM_UP_MS
from topis.run.shards import Shard, run_shard

#: A shard whose process died is tried so often.
TRIES = 3


@dataclass
class Done:
    """How far all shards are: ``until_ms`` and ``rows`` of each that has begun."""

    shards: Sequence[Shard]
    until_ms: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def total_ms(self) -> int:
        """Time to be replayed, warming up included."""
        return sum(s.end_ms - s.begin_ms + WARM_UP_MS for s in self.shards)

    @property
    def done_ms(self) -> int:
        """Of it, what is done."""
        return sum(
            max(0, self.until_ms.get(s.name, 0) - s.begin_ms + WARM_UP_MS) for s in self.shards
        )

    def tell(self, name: str, until_ms: int, rows: int) -> None:
        """What a shard says."""
        self.until_ms[name] = max(until_ms, self.until_ms.get(name, 0))
        self.rows[name] = max(rows, self.rows.get(name, 0))


Tell = Callable[[Done], None]


def work_alone(work: Path, shards: Sequence[Shard], tell: Tell) -> None:
    """One shard after the other, in this process."""
    done = Done(shards)
    for shard in shards:

        def told(until_ms: int, rows: int, name: str = shard.name) -> None:
            done.tell(name, until_ms, rows)
            tell(done)

        run_shard(work, shard, told)


def work_in_processes(work: Path, shards: Sequence[Shard], workers: int, tell: Tell) -> None:
    """In processes of this machine; one that dies is replaced, and its shard done again.

    Raises
    ------
    TopisError
        A shard cannot be done, or its process died again and again.
    """
    done = Done(shards)
    context = multiprocessing.get_context("spawn")
    told: Any = context.Queue()
    left = {shard.name: shard for shard in shards}
    for _ in range(TRIES):
        pool = ProcessPoolExecutor(workers, context, _begin, (told,))
        try:
            waiting = {pool.submit(_do, work, shard): shard for shard in left.values()}
            while waiting:
                ended, _ = wait(waiting, 0.2, FIRST_COMPLETED)
                _listen(told, done, tell)
                for future in ended:
                    _settle(future)
                    shard = waiting.pop(future)
                    del left[shard.name]
                    done.tell(shard.name, shard.end_ms, 0)
                    tell(done)
            return
        except BrokenProcessPool:
            continue
        finally:
            _stop(pool)
    raise TopisError(
        f"the process of shard {min(left)} died {TRIES} times; is there memory enough? "
        "Fewer --workers need less of it"
    )


def _begin(told: Any) -> None:
    """In a new process: Ctrl-C is for the one that waits."""
    global _told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _told = told


_told: Any = None


def _do(work: Path, shard: Shard) -> None:
    run_shard(work, shard, lambda until_ms, rows: _told.put((shard.name, until_ms, rows)))


def _listen(told: Any, done: Done, tell: Tell) -> None:
    try:
        while True:
            done.tell(*told.get_nowait())
            tell(done)
    except queue.Empty:
        return


def _settle(future: Future[None]) -> None:
    error = future.exception()
    if error is not None:
        raise error


def _stop(pool: ProcessPoolExecutor) -> None:
    """At once: what is not done will be done by the next call."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join()
