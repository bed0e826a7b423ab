"""Cycles of phases and lane groups as columns, and their sums by period."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.model.network import VEHICLE, Network
from topis.report.cycle_sums import RED_START_MS, CycleSums, Units
from topis.report.endings import FORCE_OFF, GAP_OUT, MAX_OUT, UNSAID, Endings
from topis.report.events import phase_numbers
from topis.report.lamp_log import LampLog
from topis.units import MS_PER_S

#: Detectors covered for this share of green, and of the first 5 s of red: a split failure.
FAILURE_SHARE = 0.8
_ENDINGS = {UNSAID: "", GAP_OUT: "gap-out", MAX_OUT: "max-out", FORCE_OFF: "force-off"}


def unit_names(network: Network, units: Units) -> pd.DataFrame:
    """``junction``, ``phase`` and ``link`` (empty: all of the phase) of each unit."""
    return pd.DataFrame(
        {
            "junction": np.array(network.junction_ids, dtype=object)[
                network.group_junction[units.group]
            ],
            "phase": phase_numbers(network)[units.group],
            "link": np.append(np.array(network.link_ids, dtype=object), "")[units.link],
        }
    )


class CycleColumns:
    """What is summed of every cycle; columns are made one at a time, since a day has millions.

    ``cycles`` seen whole, with their ``cycles_s`` and ``greens_s``; ``time_s`` and ``green_s`` of
    all, parts of cycles at the journal's ends included; how greens ended; vehicles at the stop
    line (``passed``, ``on_yellow``, ``on_red``) and upstream (``arrived``, ...), those of them
    whose green came (``timed``) with their ``wait_s``; cycles ``judged`` for split failure with
    the sums of GOR and ROR5. ``watched`` bool[units]: a stop-line detector tells of it.
    """

    def __init__(
        self, log: LampLog, sums: CycleSums, endings: Endings, watched: NDArray[np.bool_]
    ) -> None:
        self._log, self._sums, self._endings, self._watched = log, sums, endings, watched

    def __iter__(self) -> Iterator[tuple[str, NDArray[Any]]]:
        log, sums, row = self._log, self._sums, self._sums.row
        whole = log.whole[row]
        time_s = ((log.next_ms - log.green_ms) / MS_PER_S)[row]
        green_s = ((log.yellow_ms - log.green_ms) / MS_PER_S)[row]
        yield "cycles", whole
        yield "cycles_s", whole * time_s
        yield "greens_s", whole * green_s
        yield "time_s", time_s
        yield "green_s", green_s
        code = self.codes[row]
        for name, value in (("gap_out", GAP_OUT), ("max_out", MAX_OUT), ("force_off", FORCE_OFF)):
            yield name, code == value
        for name in ("passed", "on_yellow", "on_red", "arrived", "arrived_green", "arrived_red"):
            yield name, getattr(sums, name)
        # How long the last ones had to wait is not known.
        yield "timed", sums.arrived * log.done[row]
        yield "wait_s", sums.wait_ms / MS_PER_S * log.done[row]
        judged, gor, ror5 = self.failures()
        yield "judged", judged
        yield "gor_sum", np.where(judged, gor, 0.0)
        yield "ror5_sum", np.where(judged, ror5, 0.0)
        yield "split_failures", judged & (gor >= FAILURE_SHARE) & (ror5 >= FAILURE_SHARE)

    @property
    def codes(self) -> NDArray[np.int64]:
        """How each green of the log ended."""
        return self._endings.codes(self._sums, slice(len(self._log.group)))

    def failures(self) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
        """Cycles that can be judged for split failure, and their GOR and ROR5."""
        log, row = self._log, self._sums.row
        green_ms = (log.yellow_ms - log.green_ms)[row]
        seen = log.begun & (log.red_ms + RED_START_MS <= log.next_ms)
        gor = self._sums.green_ms / np.maximum(green_ms, 1)
        judged = seen[row] & (green_ms > 0) & self._watched[self._sums.unit]
        return judged, gor, self._sums.red_start_ms / RED_START_MS

    def by_period(self, units: Units, period_s: int) -> pd.DataFrame:
        """All sums by ``unit`` and ``period_ms`` (its begin); a cycle belongs where it begins."""
        period = (self._log.green_ms // (period_s * MS_PER_S))[self._sums.row]
        first = int(period.min())
        periods = int(period.max()) - first + 1
        cell = self._sums.unit.astype(np.int64) * periods + (period - first)
        used, where = np.unique(cell, return_inverse=True)
        columns = {
            name: np.bincount(where, values, minlength=len(used)).astype(np.float64)
            for name, values in self
        }
        begin_ms = (used % periods + first) * period_s * MS_PER_S
        return pd.DataFrame({"unit": used // periods, "period_ms": begin_ms, **columns})

    def of_phases(self, network: Network, names: pd.DataFrame) -> pd.DataFrame:
        """A row a cycle of a phase: the split monitor, and the lamps of the coordination diagram.

        ``green_ms``, ``yellow_ms``, ``red_ms`` and ``next_ms`` are when each begins, the last the
        next green; ``whole``: seen from begin to end.
        """
        log, sums = self._log, self._sums
        rows = slice(len(log.group))
        judged, gor, ror5 = self.failures()
        judged, gor, ror5 = judged[rows], gor[rows], ror5[rows]
        kept = network.group_kind[log.group] == VEHICLE
        table = pd.DataFrame(
            {
                "group": log.group,
                "green_ms": log.green_ms,
                "yellow_ms": log.yellow_ms,
                "red_ms": log.red_ms,
                "next_ms": log.next_ms,
                "whole": log.whole,
                "ending": pd.Series(self.codes).map(_ENDINGS),
                "passed": sums.passed[rows],
                "arrived": sums.arrived[rows],
                "arrived_green": sums.arrived_green[rows],
                "gor": np.where(judged, gor, np.nan),
                "ror5": np.where(judged, ror5, np.nan),
            }
        )
        table["split_failure"] = judged & (gor >= FAILURE_SHARE) & (ror5 >= FAILURE_SHARE)
        named = names.loc[log.group, ["junction", "phase"]].reset_index(drop=True)
        found: pd.DataFrame = pd.concat([named, table], axis=1).loc[kept]
        return found.reset_index(drop=True)
