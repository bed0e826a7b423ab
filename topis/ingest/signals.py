"""Shipped signal programs to groups, conflicts, intergreens, stages and plans.

What the programs of a junction *show* is taken as knowledge of what is safe there:
greens they show together are allowed together, yellows and clearances they keep are
never undercut. What they never show together and what crosses is a conflict.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from topis.errors import NetworkError
from topis.ingest.sumo_xml import RawPhase, RawProgram
from topis.model.lamp import RED, RED_AMBER, YELLOW, codes_from_letters, is_green
from topis.model.network import PEDESTRIAN, VEHICLE
from topis.units import WALK_ENTRY_S, WALK_SPEED_MPS, to_ms

#: Used only where a program says nothing (no minDur; green to red without yellow).
DEFAULT_MIN_GREEN_MS = 5_000
DEFAULT_YELLOW_MS = 3_000
#: No signal group stays red longer, unless its own program keeps it so longer.
DEFAULT_MAX_RED_MS = 180_000
#: A clearance a program keeps for walkers is taken as meant up to this, however short the way.
LONGEST_CLEARANCE_MS = 15_000
MAX_RED_OVER_SHIPPED = 1.5

Codes = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Oddity:
    """Something in the source that a person should know about."""

    kind: str
    where: str
    detail: str = ""


@dataclass(frozen=True)
class Heads:
    """What stands behind the signal heads of one light (positions of its state string).

    ``kind`` uint8[heads]; ``length_m`` float[heads] of the crossing; ``used`` bool[heads];
    ``foe`` bool[heads, heads] crossing paths; ``unknown`` bool[heads, heads] paths in
    different nodes, of which the source says nothing.
    """

    kind: Codes
    length_m: NDArray[np.float32]
    used: Bools
    foe: Bools
    unknown: Bools


@dataclass(frozen=True)
class PlanSpec:
    """One shipped program as stages: start of green and split of each, in ms of its cycle."""

    program: str
    cycle_ms: int
    offset_ms: int
    stage: list[int]
    start_ms: list[int]
    split_ms: list[int]


@dataclass
class SignalSpec:
    """All that is understood of one junction's signals (local group and stage numbers)."""

    head_group: NDArray[np.int32]
    kind: Codes
    length_m: NDArray[np.float32]
    min_green_ms: NDArray[np.int32]
    yellow_ms: NDArray[np.int32]
    max_red_ms: NDArray[np.int32]
    #: int32[groups, groups]; -1 where the pair does not conflict.
    intergreen_ms: NDArray[np.int32]
    stages: list[Codes] = field(default_factory=list)
    stage_min_ms: list[int] = field(default_factory=list)
    stage_max_ms: list[int] = field(default_factory=list)
    plans: list[PlanSpec] = field(default_factory=list)
    oddities: list[Oddity] = field(default_factory=list)


@dataclass(frozen=True)
class _Table:
    """A program as a table: lamp codes per phase and group, durations, which are stages."""

    program: RawProgram
    codes: Codes
    duration_ms: NDArray[np.int64]
    is_stage: Bools

    @property
    def cycle_ms(self) -> int:
        return int(self.duration_ms.sum())


def analyse(light: str, programs: Sequence[RawProgram], heads: Heads) -> SignalSpec:
    """Understand the signals of one junction.

    Raises
    ------
    NetworkError
        A state has the wrong length or an unknown letter, or no program has a phase.
    """
    by_head = [_read(p, len(heads.kind)) for p in programs if _runs(p)]
    if not by_head:
        raise NetworkError(
            f"{programs[0].where}: tlLogic {light!r}: no program with a phase; "
            "give it one or drop it"
        )
    head_group, first_head = _group_heads(np.vstack([c for _, c, _ in by_head]), heads.kind)
    groups, kind = len(first_head), heads.kind[first_head]
    tables = [
        _Table(p, c[:, first_head], d, _stage_phases(kind, p, c[:, first_head], d))
        for p, c, d in by_head
    ]
    length_m = np.zeros(groups, dtype=np.float32)
    np.maximum.at(length_m, head_group, heads.length_m)
    spec = SignalSpec(
        head_group=head_group,
        kind=kind,
        length_m=length_m,
        min_green_ms=np.zeros(groups, dtype=np.int32),
        yellow_ms=np.zeros(groups, dtype=np.int32),
        max_red_ms=np.zeros(groups, dtype=np.int32),
        intergreen_ms=np.full((groups, groups), -1, dtype=np.int32),
    )
    _note_heads(spec, light, heads, tables)
    conflict = _conflicts(spec, light, heads, tables)
    _yellows(spec, light, tables)
    _intergreens(spec, conflict, tables)
    _greens_and_reds(spec, tables)
    for table in tables:
        _stages_of(spec, light, table)
    return spec


def _runs(program: RawProgram) -> bool:
    return bool(program.phases) and program.program != "off" and program.type != "off"


def _read(program: RawProgram, heads: int) -> tuple[RawProgram, Codes, NDArray[np.int64]]:
    rows = []
    for number, phase in enumerate(program.phases):
        codes = codes_from_letters(phase.state)
        where = (
            f"{program.where}: tlLogic {program.light!r} program {program.program!r} phase {number}"
        )
        if len(codes) != heads:
            raise NetworkError(
                f"{where}: state has {len(codes)} letters for {heads} signals; "
                "give every signal one letter"
            )
        if (codes == 255).any():
            raise NetworkError(f"{where}: state {phase.state!r} has an unknown letter")
        rows.append(codes)
    durations = np.array([to_ms(p.duration_s) for p in program.phases], dtype=np.int64)
    if durations.sum() <= 0:
        raise NetworkError(
            f"{program.where}: tlLogic {program.light!r} program {program.program!r}: cycle is 0 s"
        )
    return program, np.vstack(rows), durations


def _group_heads(codes: Codes, kind: Codes) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Heads whose lamps always agree form a group; groups in order of their first head."""
    columns = np.vstack([codes, kind[None, :]])
    _, first, inverse = np.unique(columns, axis=1, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rank[inverse.ravel()].astype(np.int32), first[order]


def _note_heads(spec: SignalSpec, light: str, heads: Heads, tables: list[_Table]) -> None:
    note = spec.oddities.append
    unused = np.flatnonzero(~heads.used)
    if len(unused):
        note(Oddity("signal head controls nothing", light, f"heads {unused.tolist()}"))
    if len(tables) > 1:
        note(Oddity("several programs", light, f"{len(tables)} programs"))
    if any(phase.jumps for table in tables for phase in table.program.phases):
        note(Oddity("phase order may jump ('next')", light))
    for table in tables:
        if table.program.type != "static":
            note(Oddity(f"shipped program is {table.program.type}", light))
        fixed = [p for p in table.program.phases if p.min_s is not None and p.min_s == p.max_s]
        if any(p.min_s and p.min_s > DEFAULT_MIN_GREEN_MS / 1000 for p in fixed):
            note(Oddity("phase with minDur equal to maxDur", light))
    green = np.vstack([is_green(t.codes) for t in tables])
    never = ~green.any(axis=0) & np.isin(np.arange(green.shape[1]), spec.head_group[heads.used])
    if never.any():
        note(
            Oddity("signal group is never green", light, f"groups {np.flatnonzero(never).tolist()}")
        )


def _conflicts(spec: SignalSpec, light: str, heads: Heads, tables: list[_Table]) -> Bools:
    groups = len(spec.kind)
    member = np.zeros((groups, len(spec.head_group)), dtype=np.int32)
    member[spec.head_group, np.arange(len(spec.head_group))] = heads.used
    foe = (member @ heads.foe.astype(np.int32) @ member.T) > 0
    unknown = (member @ heads.unknown.astype(np.int32) @ member.T) > 0
    together = np.zeros((groups, groups), dtype=bool)
    for table in tables:
        green = is_green(table.codes).astype(np.int32)
        together |= (green.T @ green) > 0
    upper = np.triu(np.ones_like(foe), 1)
    both_priority = np.zeros_like(foe)
    for table in tables:
        priority = (table.codes == codes_from_letters("G")[0]).astype(np.int32)
        both_priority |= (priority.T @ priority) > 0
    # Heads that always show the same may cross each other too: the diagonal counts here.
    crossing = int((foe & both_priority & (upper | np.eye(groups, dtype=bool))).sum())
    if crossing:
        spec.oddities.append(
            Oddity(
                "crossing greens shown as priority by the shipped program",
                light,
                f"{crossing} pairs",
            )
        )
    guessed = int((unknown & ~foe & ~together & upper).sum())
    if guessed:
        spec.oddities.append(
            Oddity(
                "joined nodes: conflict assumed where never green together",
                light,
                f"{guessed} pairs",
            )
        )
    conflict: Bools = (foe | unknown) & ~together
    np.fill_diagonal(conflict, val=False)
    return conflict


def _spans(mask: Bools, duration_ms: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cyclic runs of ``mask`` as (start ms, length ms); a run over the whole cycle is one."""
    shown: list[bool] = mask.tolist()
    if not any(shown):
        return []
    durations: list[int] = duration_ms.tolist()
    if all(shown):
        return [(0, sum(durations))]
    spans = []
    phases, start = len(shown), 0
    for begin in range(phases):
        if shown[begin] and not shown[begin - 1]:
            length, phase = 0, begin
            while shown[phase]:
                length += durations[phase]
                phase = (phase + 1) % phases
            spans.append((start, length))
        start += durations[begin]
    return spans


def _yellows(spec: SignalSpec, light: str, tables: list[_Table]) -> None:
    for group in range(len(spec.kind)):
        if spec.kind[group] == PEDESTRIAN:
            continue
        shown, ends_without = [], False
        for table in tables:
            column = table.codes[:, group]
            yellow = column == YELLOW
            before = np.roll(column, 1)
            after_green = yellow & (is_green(before) | (before == YELLOW))
            shown += [length for _, length in _spans(after_green, table.duration_ms) if length > 0]
            ends_without |= bool((is_green(before) & (column == RED)).any())
        spec.yellow_ms[group] = min(shown, default=DEFAULT_YELLOW_MS)
        if ends_without:
            spec.oddities.append(Oddity("green ends without yellow", light, f"group {group}"))


def _intergreens(spec: SignalSpec, conflict: Bools, tables: list[_Table]) -> None:
    """Shortest direct interval shipped; elsewhere yellow plus the clearance seen around it."""
    groups = len(spec.kind)
    far = np.iinfo(np.int32).max
    seen = np.full((groups, groups), far, dtype=np.int64)
    apart = np.full((groups, groups), far, dtype=np.int64)
    for table in tables:
        spans = [_spans(is_green(table.codes[:, g]), table.duration_ms) for g in range(groups)]
        staged = _stage_time(table)
        for i, j in _pairs(conflict):
            seen[i, j] = min(seen[i, j], _direct_ms(spans[i], spans[j], staged, table.cycle_ms))
            apart[i, j] = min(apart[i, j], _apart_ms(spans[i], spans[j], table.cycle_ms))
    for i, j in _pairs(conflict):
        yellow = int(spec.yellow_ms[i])
        walk_ms = 1000 * math.ceil(float(spec.length_m[i]) / WALK_SPEED_MPS)
        if seen[i, j] < far:
            # Long after the last walker is across, the time that passes is the stage's own.
            most = max(walk_ms, LONGEST_CLEARANCE_MS) if spec.kind[i] == PEDESTRIAN else far
            spec.intergreen_ms[i, j] = max(min(int(seen[i, j]), most), yellow)
            continue
        after_i = [int(v) - yellow for v in seen[i] if v < far]
        if spec.kind[i] == PEDESTRIAN:
            clearance = min([*after_i, walk_ms])
        else:
            into_j = [
                int(v) - int(spec.yellow_ms[k])
                for k, v in enumerate(seen[:, j])
                if v < far and spec.kind[k] == VEHICLE
            ]
            clearance = max(min(after_i, default=0), min(into_j, default=0))
        # Never more than any program keeps, be it with a stage in between.
        spec.intergreen_ms[i, j] = max(min(yellow + max(clearance, 0), int(apart[i, j])), yellow)


def _pairs(conflict: Bools) -> Iterator[tuple[int, int]]:
    for i, j in np.argwhere(conflict):
        yield int(i), int(j)


def _stage_time(table: _Table) -> dict[int, int]:
    """Stage time (ms) run up to each phase boundary; a whole cycle adds the value at its end."""
    edges = np.concatenate(([0], np.cumsum(table.duration_ms))).tolist()
    staged = np.concatenate(([0], np.cumsum(table.duration_ms * table.is_stage))).tolist()
    return dict(zip(edges, staged, strict=True))


def _direct_ms(
    ends: list[tuple[int, int]], starts: list[tuple[int, int]], staged: dict[int, int], cycle: int
) -> int:
    """Shortest time from an end of green to a start with no stage in between (then: clearance)."""
    shortest = int(np.iinfo(np.int32).max)
    for begin, length in ends:
        end = (begin + length) % cycle
        for start, _ in starts:
            if (staged[start] - staged[end]) % max(staged[cycle], 1) == 0:
                shortest = min(shortest, (start - end) % cycle)
    return shortest


def _apart_ms(ends: list[tuple[int, int]], starts: list[tuple[int, int]], cycle: int) -> int:
    """Shortest time from an end of green to a start, whatever lies between."""
    times = [(s - b - length) % cycle for b, length in ends for s, _ in starts]
    return min(times, default=int(np.iinfo(np.int32).max))


def _greens_and_reds(spec: SignalSpec, tables: list[_Table]) -> None:
    for group in range(len(spec.kind)):
        greens, reds = [], [0]
        for table in tables:
            green = is_green(table.codes[:, group])
            greens += [length for _, length in _spans(green, table.duration_ms) if length > 0]
            reds += [length for _, length in _spans(~green, table.duration_ms)]
        shipped = min(greens, default=DEFAULT_MIN_GREEN_MS)
        needed = DEFAULT_MIN_GREEN_MS
        if spec.kind[group] == PEDESTRIAN:
            clearances = spec.intergreen_ms[group][spec.intergreen_ms[group] >= 0]
            clearance = int(clearances.min()) if len(clearances) else 0
            walk = to_ms(WALK_ENTRY_S + float(spec.length_m[group]) / WALK_SPEED_MPS)
            needed = max(needed, walk - clearance)
        spec.min_green_ms[group] = min(needed, shipped)
        spec.max_red_ms[group] = max(DEFAULT_MAX_RED_MS, int(MAX_RED_OVER_SHIPPED * max(reds)))


def _stages_of(spec: SignalSpec, light: str, table: _Table) -> None:
    phases = table.program.phases
    is_stage = table.is_stage
    number_of = [
        _stage_number(spec, table.codes[k], phases[k]) if is_stage[k] else -1
        for k in range(len(phases))
    ]
    if (is_stage & ((table.codes == YELLOW) | (table.codes == RED_AMBER)).any(axis=1)).any():
        spec.oddities.append(Oddity("stage taken from a yellow phase", light))
    starts = np.concatenate(([0], np.cumsum(table.duration_ms))).tolist()
    stage: list[int] = []
    start_ms: list[int] = []
    for phase, number in enumerate(number_of):
        if number >= 0 and not (stage and stage[-1] == number):
            stage.append(number)
            start_ms.append(int(starts[phase]))
    if len(stage) > 1 and stage[0] == stage[-1]:
        # The stage runs over the end of the cycle: its start is the later phase.
        stage.pop(0)
        start_ms.pop(0)
    if not stage:
        spec.oddities.append(
            Oddity("program without a green (not used)", light, repr(table.program.program))
        )
        return
    split_ms = [
        (start_ms[(k + 1) % len(stage)] - start_ms[k]) % table.cycle_ms or table.cycle_ms
        for k in range(len(stage))
    ]
    spec.plans.append(
        PlanSpec(
            table.program.program,
            table.cycle_ms,
            to_ms(table.program.offset_s),
            stage,
            start_ms,
            split_ms,
        )
    )


def _stage_phases(
    kind: Codes, program: RawProgram, codes: Codes, duration_ms: NDArray[np.int64]
) -> Bools:
    """Which phases are stages rather than the way from one stage to the next."""
    green = is_green(codes)
    moving = ((codes == YELLOW) | (codes == RED_AMBER)).any(axis=1)
    stage: Bools = green.any(axis=1) & ~moving & (duration_ms > 0)
    phases = program.phases
    before = stage.copy()
    for k in np.flatnonzero(before):
        last, following = k - 1, (k + 1) % len(phases)
        ended = green[last] & ~green[k]
        only_walkers_ended = (
            before[last]
            and ended.any()
            and not (green[k] & ~green[last]).any()
            and (kind[ended] == PEDESTRIAN).all()
        )
        brief = duration_ms[k] < DEFAULT_MIN_GREEN_MS and phases[k].min_s is None
        within = not (green[k] & ~green[last]).any() or not (green[k] & ~green[following]).any()
        if only_walkers_ended or (brief and within):
            stage[k] = False
    # Every group that is ever green must be green in a stage: take the longest phase back.
    for group in np.flatnonzero(green.any(axis=0)):
        if not green[stage, group].any():
            candidates = np.flatnonzero(green[:, group])
            stage[candidates[np.argmax(duration_ms[candidates])]] = True
    return stage


def _stage_number(spec: SignalSpec, codes: Codes, phase: RawPhase) -> int:
    codes = np.where((codes == YELLOW) | (codes == RED_AMBER), RED, codes).astype(np.uint8)
    min_ms = DEFAULT_MIN_GREEN_MS if phase.min_s is None else to_ms(phase.min_s)
    max_ms = 0 if phase.max_s is None else to_ms(phase.max_s)
    for number, known in enumerate(spec.stages):
        if (known == codes).all():
            spec.stage_min_ms[number] = min(spec.stage_min_ms[number], min_ms)
            spec.stage_max_ms[number] = max(spec.stage_max_ms[number], max_ms)
            return number
    spec.stages.append(codes)
    spec.stage_min_ms.append(min_ms)
    spec.stage_max_ms.append(max_ms)
    return len(spec.stages) - 1
