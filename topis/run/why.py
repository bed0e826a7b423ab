"""Why a junction was answered so: from what a replay kept, or by repeating a simulation's loop."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from topis.control.protocol import Controller, Explains, Why
from topis.control.registry import make_controller
from topis.errors import InputError
from topis.ingest.slices import time_ms_of
from topis.model.command import Commands, Reason
from topis.model.state import SignalState, TrafficState
from topis.report.journal import JournalReader
from topis.report.lane_evidence import lanes_seen, state_at
from topis.report.reasons import Alternative, Answer, Explanation, Weighing, find_junction
from topis.run.advising import REASON_SCHEMA
from topis.run.verify import Comparer, repeat_run
from topis.units import MS_PER_HOUR, MS_PER_S

_DAY_MS = 24 * MS_PER_HOUR
#: A junction weighs its alternatives more often than this: first look no further back.
_LOOK_BACK_MS = 600_000


def explain(folder: Path, junction: str, when: str) -> Explanation:
    """The answer of a junction at a time of a run, why, and on what evidence.

    ``when``: see `moment_ms`.

    Raises
    ------
    InputError
        No run folder, junction or time of it; its controller keeps no reasons; a damaged file.
    ReplayMismatchError
        A simulation's journal, repeated, gives another decision.
    """
    journal = JournalReader(folder)
    number = find_junction(journal.network, junction)
    at_ms = moment_ms(when, journal.ticks_ms, folder)
    name = str(journal.manifest.get("controller"))
    controller = make_controller(name, journal.network, journal.manifest.get("settings"))
    if not isinstance(controller, Explains):
        raise InputError.at(
            folder,
            f"controller {name} keeps no alternatives",
            "ask a run of adaptive, max-pressure or actuated",
        )
    if journal.manifest.get("kind") == "replay":
        answer = _kept(folder / "reasons.parquet", number, at_ms)
        state = state_at(journal, at_ms)
    else:
        answer, state = _repeated(journal, controller, number, at_ms)
    lanes = tuple(lanes_seen(journal, state, number))
    return Explanation(journal.network, number, name, controller.measure, answer, lanes)


def moment_ms(when: str, ticks_ms: list[int], folder: Path) -> int:
    """The tick of a run that a time lies in.

    ``when``: a time of day (``08:12:30``, the first such in the run), an ISO time, or seconds as
    a simulation counts them.

    Raises
    ------
    InputError
        It is no time, or outside the run.
    """
    if not ticks_ms:
        raise InputError.at(folder, "holds no tick", "name a run that went on for a while")
    begin_ms, end_ms = ticks_ms[0], ticks_ms[-1]
    tick_ms = ticks_ms[1] - begin_ms if len(ticks_ms) > 1 else MS_PER_S
    clock = re.fullmatch(r"(\d{1,2}):(\d\d)(?::(\d\d(?:\.\d+)?))?", when)
    if re.fullmatch(r"\d+(\.\d+)?", when):
        at_ms = round(float(when) * MS_PER_S)
    elif clock:
        hours, minutes, seconds = clock.groups(default="0")
        of_day_ms = (int(hours) * 60 + int(minutes)) * 60_000 + round(float(seconds) * MS_PER_S)
        at_ms = begin_ms - begin_ms % _DAY_MS + of_day_ms
        if at_ms < begin_ms:
            at_ms += _DAY_MS
    else:
        at_ms = time_ms_of(when)
    if not begin_ms <= at_ms < end_ms + tick_ms:
        raise InputError(
            f"time {when} is outside the run; name one from {clock_text(begin_ms)} to "
            f"{clock_text(end_ms)} ({begin_ms / MS_PER_S:.15g} to {end_ms / MS_PER_S:.15g} s)"
        )
    return ticks_ms[bisect_right(ticks_ms, at_ms) - 1]


def clock_text(time_ms: int) -> str:
    """Time of day, after the date if there is one: a simulation's seconds are of no date."""
    text = str(np.datetime64(time_ms, "ms")).removesuffix(".000")
    date, time = text.split("T")
    return time if date == "1970-01-01" else f"{date}T{time}"


# ---- kept by a replay ----


def _kept(path: Path, junction: int, at_ms: int) -> Answer:
    """What `topis.run.advising.ReasonLog` wrote."""
    if not path.is_file():
        raise InputError.at(path, "is missing", "replay the slice again with this version")
    try:
        if not pq.read_schema(path).equals(REASON_SCHEMA):
            raise InputError.at(path, "has other columns", "replay the slice again")
        span = [("junction", "=", junction), ("time_ms", "<=", at_ms)]
        near = [*span, ("time_ms", ">=", at_ms - _LOOK_BACK_MS)]
        table = pq.read_table(path, filters=near)
        if not any(table.column("stage").to_pylist()):
            table = pq.read_table(path, filters=span)
    except (OSError, pa.ArrowException) as error:
        raise InputError.at(path, f"cannot be read ({error})", "replay the slice again") from None
    rows = table.to_pylist()
    if not rows:
        raise InputError.at(path, "holds nothing of this junction", "replay the slice again")
    last = rows[-1]
    weighed = next((row for row in reversed(rows) if row["stage"]), None)
    weighing = None
    if weighed is not None:
        pairs = zip(weighed["stage"], weighed["value"], weighed["bound"], strict=True)
        weighing = Weighing(
            weighed["time_ms"], weighed["shown"], weighed["wanted"],
            weighed["next_stage"], weighed["extend_s"],
            tuple(Alternative(*pair) for pair in pairs),
        )  # fmt: skip
    return Answer(at_ms, last["shown"], last["wanted"], Why(last["why"]), weighing)


# ---- a simulation, repeated ----


class _Listener:
    """A controller whose last answer for one junction is kept."""

    def __init__(
        self, inner: Controller, explains: Explains, low: int, high: int, own: int
    ) -> None:
        self.name = inner.name
        self._inner, self._explains = inner, explains
        self._stages, self._junction = slice(low, high), own
        self._weighing: Weighing | None = None
        self.answer: Answer | None = None
        self.state: TrafficState | None = None

    def decide(self, state: TrafficState, signals: SignalState) -> Commands:
        """See `topis.control.protocol.Controller`."""
        commands = self._inner.decide(state, signals)
        reasons, own = self._explains.reasons(), self._junction
        shown, wanted = int(signals.stage[own]), int(commands.stage[own])
        if reasons.weighed[own]:
            value, bound = reasons.value[self._stages], reasons.bound[self._stages]
            self._weighing = Weighing(
                state.time_ms, shown, wanted,
                int(reasons.next_stage[own]), int(reasons.extend_s[own]),
                tuple(
                    Alternative(self._stages.start + k, float(value[k]), int(bound[k]))
                    for k in np.flatnonzero(~np.isnan(value)).tolist()
                ),
            )  # fmt: skip
        why = Why(int(reasons.why[own]))
        self.answer = Answer(state.time_ms, shown, wanted, why, self._weighing)
        self.state = state
        return commands


class _Until:
    """Stops a loop at a time."""

    def __init__(self, at_ms: int) -> None:
        self._at_ms = at_ms

    def tick(self, time_ms: int) -> bool:
        """See `topis.run.ports.Clock`."""
        return time_ms < self._at_ms


def _repeated(
    journal: JournalReader, controller: Controller, junction: int, at_ms: int
) -> tuple[Answer, TrafficState]:
    low, high = journal.network.junction_stage_ptr[junction : junction + 2].tolist()
    assert isinstance(controller, Explains)
    listener = _Listener(controller, controller, low, high, junction)
    repeat_run(journal, listener, Comparer(journal), _Until(at_ms))
    assert listener.answer is not None
    assert listener.state is not None
    refused = [
        Reason(reason).text
        for time_ms, own, _, reason in journal.refusals()
        if (time_ms, own) == (at_ms, junction)
    ]
    return replace(listener.answer, refused="; ".join(refused)), listener.state
