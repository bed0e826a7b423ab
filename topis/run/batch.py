"""Many runs side by side, each in a fresh process, with progress and a clean Ctrl-C.

SUMO's library keeps state from one run to the next in a process, so a run never shares
one: the same seed gives the same bytes whatever else ran before it.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any

from topis.errors import SumoError, TopisError
from topis.run.simulate import RunSpec, draft_folder, simulate


@dataclass
class RunStatus:
    """Where one run of a batch is. ``ended``: "", "complete", "interrupted" or "failed"."""

    spec: RunSpec
    now_s: float = 0.0
    begin_s: float = 0.0
    end_s: float | None = None
    vehicles: int = 0
    started: bool = False
    ended: str = ""
    error: TopisError | None = None


#: Shown the state of all runs a few times a second.
Watch = Callable[[Sequence[RunStatus]], None]


def run_batch(specs: Sequence[RunSpec], jobs: int, watch: Watch) -> list[RunStatus]:
    """Run all, at most ``jobs`` at a time. Ctrl-C ends the running ones cleanly.

    A failed run stops the batch: the others are ended as by Ctrl-C. The caller looks at
    each status.
    """
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    stop = context.Event()
    statuses = [RunStatus(spec) for spec in specs]
    waiting = list(range(len(specs)))
    running: dict[int, SpawnProcess] = {}
    try:
        with _InterruptSets(stop):
            while waiting or running:
                while waiting and len(running) < jobs and not stop.is_set():
                    number = waiting.pop(0)
                    running[number] = _start(context, number, specs[number], messages, stop)
                    statuses[number].started = True
                if stop.is_set():
                    waiting.clear()
                _listen(messages, statuses)
                for number, process in list(running.items()):
                    if not process.is_alive():
                        process.join()
                        del running[number]
                        _listen(messages, statuses)
                        _settle(statuses[number], process.exitcode)
                if any(status.error for status in statuses):
                    stop.set()
                watch(statuses)
    finally:
        for process in running.values():
            process.terminate()
            process.join()
        # A run that was killed could not tidy up.
        for spec in specs:
            shutil.rmtree(draft_folder(spec), ignore_errors=True)
    return statuses


def _start(
    context: SpawnContext, number: int, spec: RunSpec, messages: Any, stop: Event
) -> SpawnProcess:
    process = context.Process(target=_work, args=(number, spec, messages, stop), daemon=True)
    with _interrupts_held():
        process.start()
    return process


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits until the end of this, and processes started in it never hear of one.

    A terminal sends it to all of them, even while they still import what they need.
    """
    if sys.platform == "win32":
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _listen(messages: Any, statuses: Sequence[RunStatus]) -> None:
    try:
        message = messages.get(timeout=0.1)
        while True:
            number, kind, content = message
            status = statuses[number]
            if kind == "progress":
                status.now_s, status.begin_s, status.end_s, status.vehicles = content
            elif kind == "ended":
                status.ended = content
            else:
                status.ended, status.error = "failed", content
            message = messages.get_nowait()
    except queue.Empty:
        return


def _settle(status: RunStatus, exit_code: int | None) -> None:
    if status.ended:
        return
    status.ended = "failed"
    status.error = SumoError(
        f"{status.spec.controller}, seed {status.spec.seed}: the run's process ended with code "
        f"{exit_code} before it was done; run it alone with --jobs 1 to see more"
    )


class _InterruptSets:
    """While active, Ctrl-C asks the runs to end instead of killing them; twice kills."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._on_interrupt)

    def _on_interrupt(self, *_: object) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)


def _work(number: int, spec: RunSpec, messages: Any, stop: Event) -> None:
    """A child process: one run. SUMO's own chatter is caught and told only when it matters."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupted = False

    def progress(now_s: float, begin_s: float, end_s: float | None, vehicles: int) -> bool:
        nonlocal interrupted
        messages.put((number, "progress", (now_s, begin_s, end_s, vehicles)))
        interrupted = stop.is_set()
        return not interrupted

    with tempfile.TemporaryFile() as chatter:
        # C++ writes to the file descriptors; Python's own streams are left alone.
        sys.stdout.flush()
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(chatter.fileno(), 1)
        os.dup2(chatter.fileno(), 2)
        try:
            simulate(spec, progress)
            messages.put((number, "ended", "interrupted" if interrupted else "complete"))
        except TopisError as error:
            messages.put((number, "failed", _with_reason(error, chatter)))
        except Exception:
            os.dup2(saved, 2)
            raise
        finally:
            messages.close()
            messages.join_thread()


def _with_reason(error: TopisError, chatter: Any) -> TopisError:
    """SUMO often says on its error stream what its exception does not."""
    chatter.seek(0)
    text = chatter.read().decode(errors="replace")
    reasons = [
        line[len("Error:") :].strip() for line in text.splitlines() if line.startswith("Error:")
    ]
    reasons = [r for r in reasons if r and "Quitting" not in r and r not in str(error)]
    if isinstance(error, SumoError) and reasons:
        return SumoError(f"{error} (SUMO says: {reasons[0]})")
    return error


def default_jobs() -> int:
    """As many runs at once as there are cores."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def folder_name(spec_controller: str, seed: int) -> str:
    """Name of a run folder."""
    return f"{spec_controller}-seed{seed}"
