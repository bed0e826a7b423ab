"""Progress bars: over all runs of a batch, and over the stages of one job."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import click

from topis.clock import stopwatch_s
from topis.run.batch import RunStatus

_STEPS_PER_RUN = 1000


class BatchProgress:
    """Simulated time, vehicles, speed-up and ETA on stderr; silent where no one looks."""

    def __init__(self, runs: int) -> None:
        stderr = sys.stderr
        # Click would print the label even where no one looks; errors stand alone there.
        self._bar: Any = None
        if stderr.isatty():
            self._bar = click.progressbar(
                length=runs * _STEPS_PER_RUN,
                label="Simulating",
                show_pos=False,
                item_show_func=lambda text: text,
                file=stderr,
            )
        self._done = 0
        self._began_s = stopwatch_s()

    def __enter__(self) -> BatchProgress:
        if self._bar:
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.__exit__(kind, error, trace)

    def __call__(self, statuses: Sequence[RunStatus]) -> None:
        """Show the present state."""
        if not self._bar:
            return
        done = sum(round(_STEPS_PER_RUN * _share(status)) for status in statuses)
        self._bar.update(max(0, done - self._done), current_item=self._text(statuses))
        self._done = max(done, self._done)

    def _text(self, statuses: Sequence[RunStatus]) -> str:
        ended = sum(bool(status.ended) for status in statuses)
        active = [status for status in statuses if status.started and not status.ended]
        simulated_s = sum(max(0.0, s.now_s - s.begin_s) for s in statuses)
        elapsed_s = max(stopwatch_s() - self._began_s, 1e-3)
        now = "  ".join(f"{s.spec.controller} t={s.now_s:.0f} s {s.vehicles} veh" for s in active)
        return f"{ended}/{len(statuses)} runs, {simulated_s / elapsed_s:.0f}x real time  {now}"


def _share(status: RunStatus) -> float:
    if status.ended:
        return 1.0
    if status.end_s is None or status.end_s <= status.begin_s:
        return 0.0
    return min(1.0, max(0.0, (status.now_s - status.begin_s) / (status.end_s - status.begin_s)))


class StageBar:
    """What is being done, on stderr; silent where no one looks."""

    def __init__(self, label: str) -> None:
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = click.progressbar(
                length=1000, label=label, item_show_func=lambda t: t, file=sys.stderr
            )

    def __enter__(self) -> StageBar:
        if self._bar:
            self._bar.__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        if self._bar:
            self._bar.__exit__(*what)

    def show(self, text: str, done: int, total: int) -> None:
        """Steps done of the present stage."""
        if self._bar:
            step = 1000 * done // max(total, 1) - self._bar.pos
            self._bar.update(step, current_item=text)
