"""Judge SUMO's own record of the lamp states (SaveTLSSwitchStates) against the shipped programs.

SUMO writes one row when a traffic light's state changes, and one at the begin of the run. A
state set through TraCI before a step is written with the time at which that step begins.
"""

import gzip
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import IO
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

from .shipped import DARK, GREEN, YELLOW, Pair, PathName, Signal, read_signals

INFORMATION = frozenset({"never_together", "not_judged"})
"""Kinds that are remarks: worth a look, but not against any rule the net states."""

History = list[tuple[int, str]]
"""Time (ms) and state of every change, in order of time."""


@dataclass(frozen=True, order=True)
class Violation:
    """One finding: when it became visible, at which traffic light, of which kind, and the facts.

    `time_s` is the start of the overlap for `conflict`, `priority_conflict`, `never_together`;
    the start of red for `missing_yellow`, `short_yellow`; the end of the green for `short_green`;
    the start of the second green for `short_intergreen`, `short_all_red`; the row for `dark`.
    """

    time_s: float
    tls: str
    kind: str
    detail: str


@dataclass(frozen=True)
class _Run:
    """A contiguous showing of one lamp class (g, y, o, r); `end_ms` is None for the last one."""

    lamp: str
    start_ms: int
    end_ms: int | None


def write_recorder(path: PathName, tls_ids: Iterable[str], dest: PathName) -> None:
    """Write the additional file that makes SUMO record all these traffic lights into `dest`.

    SUMO resolves a relative `dest` against the folder of the additional file.
    """
    lines = [
        f'    <timedEvent type="SaveTLSSwitchStates" source={quoteattr(tls)} '
        f"dest={quoteattr(str(dest))}/>"
        for tls in tls_ids
    ]
    text = "\n".join(["<additional>", *lines, "</additional>", ""])
    Path(path).write_text(text, encoding="utf-8")


def audit(
    net_path: PathName, states_path: PathName, additional: Iterable[PathName] = ()
) -> list[Violation]:
    """Find everything in a recording that the shipped programs of the net would not do.

    `additional` are files with further shipped tlLogics. Returns the findings in order of time;
    those of a kind in `INFORMATION` are remarks. Raises ValueError when recording and net do not
    belong together.
    """
    signals = read_signals(net_path, additional)
    histories = _read_states(states_path)
    begin_ms = min((history[0][0] for history in histories.values()), default=0)
    findings: list[Violation] = []
    for tls, signal in signals.items():
        history = histories.get(tls)
        if history is None:
            findings.append(Violation(begin_ms / 1000, tls, "dark", "no row in the recording"))
            continue
        for _, state in history:
            if len(state) != signal.size:
                raise ValueError(
                    f"{states_path}: {tls!r} shows {len(state)} lamps, the net has {signal.size}"
                )
        findings.extend(_judge(signal, history))
    return sorted(findings)


def _read_states(path: PathName) -> dict[str, History]:
    histories: dict[str, History] = {}
    with _open(path) as stream:
        for _, element in ElementTree.iterparse(stream):
            if element.tag == "tlsState":
                history = histories.setdefault(element.get("id", ""), [])
                time_ms = round(float(element.get("time", "0")) * 1000)
                if history and history[-1][0] > time_ms:
                    raise ValueError(f"{path}: rows of {element.get('id')!r} run back in time")
                if history and history[-1][0] == time_ms:
                    history.pop()
                # Merged here, since SUMO may repeat a state when only the program changes.
                if not history or history[-1][1] != element.get("state", ""):
                    history.append((time_ms, element.get("state", "")))
            element.clear()
    return histories


def _open(path: PathName) -> IO[bytes]:
    if Path(path).suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return Path(path).open("rb")


def _judge(signal: Signal, history: History) -> Iterator[Violation]:
    yield from _dark(signal, history)
    if signal.nema:
        # A NEMA program lists its phases ring by ring; the states it shows are unions of them.
        time_s = history[0][0] / 1000
        yield Violation(time_s, signal.tls, "not_judged", "NEMA program: states are not listed")
        return
    yield from _overlaps(signal, history)
    runs = [_runs(history, link) for link in range(signal.size)]
    for link in range(signal.size):
        yield from _yellows(signal, link, runs[link])
        yield from _greens(signal, link, runs[link])
    yield from _intergreens(signal, runs)


def _runs(history: History, link: int) -> list[_Run]:
    changes: list[tuple[int, str]] = []
    for time_ms, state in history:
        lamp = _lamp_class(state[link])
        if not changes or changes[-1][1] != lamp:
            changes.append((time_ms, lamp))
    ends = [time_ms for time_ms, _ in changes[1:]]
    return [
        _Run(lamp, start_ms, end_ms)
        for (start_ms, lamp), end_ms in zip(changes, [*ends, None], strict=True)
    ]


def _lamp_class(lamp: str) -> str:
    if lamp in GREEN:
        return "g"
    if lamp in YELLOW:
        return "y"
    return "o" if lamp in DARK else "r"


def _dark(signal: Signal, history: History) -> Iterator[Violation]:
    before: set[int] = set()
    for time_ms, state in history:
        dark = {link for link, lamp in enumerate(state) if lamp in DARK} - signal.dark
        if dark - before:
            links = ", ".join(str(link) for link in sorted(dark - before))
            detail = f"links {links} dark or blinking in {state}"
            yield Violation(time_ms / 1000, signal.tls, "dark", detail)
        before = dark


def _overlaps(signal: Signal, history: History) -> Iterator[Violation]:
    """Links that are green together although no shipped state shows them so."""
    before: set[tuple[Pair, str]] = set()
    remarked: set[Pair] = set()
    known: dict[str, set[tuple[Pair, str]]] = {}
    for time_ms, state in history:
        if state not in known:
            known[state] = set(_pairs(signal, state))
        for pair, kind in sorted(known[state] - before):
            if kind == "never_together":
                if pair in remarked:
                    continue
                remarked.add(pair)
            detail = f"{_name(signal, pair[0])} and {_name(signal, pair[1])} in {state}"
            yield Violation(time_ms / 1000, signal.tls, kind, detail)
        before = known[state]


def _pairs(signal: Signal, state: str) -> Iterator[tuple[Pair, str]]:
    green = [link for link, lamp in enumerate(state) if lamp in GREEN]
    for pair in combinations(green, 2):
        if pair in signal.foes:
            if pair not in signal.together:
                yield pair, "conflict"
            elif state[pair[0]] == state[pair[1]] == "G" and pair not in signal.major:
                yield pair, "priority_conflict"
        elif pair in signal.apart:
            yield pair, "never_together"


def _yellows(signal: Signal, link: int, runs: list[_Run]) -> Iterator[Violation]:
    required_ms = signal.yellow_ms[link]
    for index, (green, after) in enumerate(pairwise(runs)):
        if green.lamp != "g":
            continue
        if after.lamp == "r" and required_ms > 0:
            detail = f"{_name(signal, link)} needs {required_ms / 1000:g} s"
            yield Violation(after.start_ms / 1000, signal.tls, "missing_yellow", detail)
        if after.lamp != "y" or after.end_ms is None or runs[index + 2].lamp != "r":
            continue
        shown_ms = after.end_ms - after.start_ms
        if shown_ms < required_ms:
            detail = f"{_name(signal, link)}: {_less(shown_ms, required_ms)}"
            yield Violation(after.end_ms / 1000, signal.tls, "short_yellow", detail)


def _greens(signal: Signal, link: int, runs: list[_Run]) -> Iterator[Violation]:
    required_ms = signal.green_ms[link]
    # The first and the last run are cut by the recording.
    for run in runs[1:]:
        if run.lamp != "g" or run.end_ms is None:
            continue
        shown_ms = run.end_ms - run.start_ms
        if shown_ms < required_ms:
            detail = f"{_name(signal, link)}: {_less(shown_ms, required_ms)}"
            yield Violation(run.end_ms / 1000, signal.tls, "short_green", detail)


def _intergreens(signal: Signal, runs: list[list[_Run]]) -> Iterator[Violation]:
    """Time between the end of a green and the start of a conflicting one."""
    ends: list[list[tuple[int, int]]] = []
    for link_runs in runs:
        link_ends = []
        for run, after in pairwise(link_runs):
            if run.lamp == "g":
                clear_ms = after.end_ms if after.lamp == "y" else after.start_ms
                link_ends.append((after.start_ms, after.start_ms if clear_ms is None else clear_ms))
        ends.append(link_ends)
    for (i, j), required_ms in signal.intergreen_ms.items():
        for run in runs[j][1:]:
            if run.lamp != "g":
                continue
            place = bisect_right(ends[i], run.start_ms, key=lambda item: item[0])
            if place == 0:
                continue
            end_ms, clear_ms = ends[i][place - 1]
            if _green_at(runs[i], run.start_ms):
                continue
            change = f"{_name(signal, i)} to {_name(signal, j)}"
            shown_ms = run.start_ms - end_ms
            if shown_ms < required_ms:
                detail = f"{change}: {_less(shown_ms, required_ms)}"
                yield Violation(run.start_ms / 1000, signal.tls, "short_intergreen", detail)
            shown_ms = max(0, run.start_ms - clear_ms)
            required_red_ms = signal.all_red_ms[i, j]
            if shown_ms < required_red_ms:
                detail = f"{change}: {_less(shown_ms, required_red_ms)}"
                yield Violation(run.start_ms / 1000, signal.tls, "short_all_red", detail)


def _green_at(runs: list[_Run], time_ms: int) -> bool:
    place = bisect_right(runs, time_ms, key=lambda run: run.start_ms)
    return place > 0 and runs[place - 1].lamp == "g"


def _name(signal: Signal, link: int) -> str:
    return f"link {link} ({signal.names[link]})"


def _less(shown_ms: int, required_ms: int) -> str:
    return f"{shown_ms / 1000:g} s, shipped at least {required_ms / 1000:g} s"
