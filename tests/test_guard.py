"""Whatever is commanded, the lamps stay safe: judged by a checker that knows only the rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.networks import Group, Junction, build, crossroads, junctions
from topis.errors import NetworkError, SafetyError
from topis.model.command import KEEP, LOCAL, Commands, Reason, Refusal
from topis.safety.guard import Guard

RED, YELLOW, PERMISSIVE, PRIORITY, STOP_THEN_GO, RED_AMBER = 0, 1, 2, 3, 4, 7
GREENS = (PERMISSIVE, PRIORITY)
START_MS = 1_700_000_000_000


# ---- the checker ----


@dataclass
class Shown:
    """The lamps of one junction at one tick; ``by_guard`` False where a local program set them."""

    time_ms: int
    codes: list[int]
    by_guard: bool


@dataclass
class LampMemory:
    code: int
    green_from: int
    green_end: int
    yellow_from: int


@dataclass
class Checker:
    """Follows the lamps of one junction from tick to tick and names every broken rule.

    The times of a lamp count from the first tick, as nothing is known of before. What a local
    program does is not judged, but it counts: its greens end, its yellows run.
    """

    junction: Junction
    start_ms: int
    step_ms: int
    lamps: list[LampMemory] = field(init=False)
    controlled_from: int | None = None
    stage_seen: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        t = self.start_ms
        self.lamps = [LampMemory(RED, t, t, t) for _ in self.junction.groups]

    # How long one change to another stage can take from the moment it is due:
    #   wait    the shown stage and every green that ends have had their minimum, plus one tick,
    #           as a change begins at a tick;
    #   change  the longest clearance or yellow, twice: a clearance of a green that ended under
    #           local control (or in a change that was broken off) may still run while the
    #           clearance of the greens that end now begins, and one that is planned to end in
    #           mid-change ends at a tick, up to one late; plus one tick for the start.
    @cached_property
    def one_change_ms(self) -> int:
        spec = self.junction
        minimum = max([g.min_green_ms for g in spec.groups] + list(spec.stage_min_ms) + [5000])
        clearance = max([g.yellow_ms for g in spec.groups] + list(spec.intergreen_ms.values()))
        return minimum + 2 * clearance + 4 * self.step_ms

    # A group over its maximum red is served next. Before that a change under way is finished,
    # and of groups that are over at the same time the one longest over goes first; once served
    # it is behind again. So at most one change under way, one for each safe stage, each with
    # its wait.
    @cached_property
    def overdue_allowance_ms(self) -> int:
        return (1 + len(self.safe)) * self.one_change_ms

    @cached_property
    def safe(self) -> list[list[int]]:
        """Lamps of the stages that may be shown."""
        return [self.junction.codes(s) for s in self.junction.safe_stages()]

    @cached_property
    def served(self) -> set[int]:
        """Groups that some safe stage serves."""
        return {n for codes in self.safe for n, code in enumerate(codes) if code in GREENS}

    def see(self, shown: Shown) -> None:
        if not shown.by_guard:
            self.controlled_from = None
        elif self.controlled_from is None:
            self.controlled_from = self.stage_seen = shown.time_ms
        for number, (lamp, code) in enumerate(zip(self.lamps, shown.codes, strict=True)):
            if shown.by_guard:
                self._judge(number, lamp, code, shown)
        for lamp, code in zip(self.lamps, shown.codes, strict=True):
            self._remember(lamp, code, shown.time_ms)
        if shown.by_guard:
            self._judge_together(shown)

    def _fault(self, shown: Shown, what: str) -> None:
        self.faults.append(f"t={shown.time_ms - self.start_ms} ms: {what}")

    def _judge(self, number: int, lamp: LampMemory, code: int, shown: Shown) -> None:
        group, now = self.junction.groups[number], shown.time_ms
        was_green, is_green = lamp.code in GREENS, code in GREENS
        if was_green and not is_green:
            if group.yellow_ms > 0 and code != YELLOW:
                self._fault(shown, f"group {number}: green to {code} without yellow")
            if group.yellow_ms == 0 and code == YELLOW:
                self._fault(shown, f"group {number}: yellow that it does not have")
            if now - lamp.green_from < group.min_green_ms:
                self._fault(shown, f"group {number}: green for {now - lamp.green_from} ms only")
        if lamp.code == YELLOW and is_green:
            self._fault(shown, f"group {number}: yellow to green")
        if lamp.code == YELLOW and code != YELLOW and now - lamp.yellow_from < group.yellow_ms:
            self._fault(shown, f"group {number}: yellow for {now - lamp.yellow_from} ms only")
        if lamp.code != YELLOW and code == YELLOW and not was_green:
            self._fault(shown, f"group {number}: yellow that follows no green")
        if is_green and not was_green:
            for (ending, starting), clearance in self.junction.intergreen_ms.items():
                if starting == number:
                    other = self.lamps[ending]
                    clear = 0 if other.code in GREENS else now - other.green_end
                    if clear < clearance:
                        self._fault(
                            shown,
                            f"intergreen {ending}->{number}: {clear} ms, needs {clearance} ms",
                        )

    def _remember(self, lamp: LampMemory, code: int, now: int) -> None:
        if code in GREENS and lamp.code not in GREENS:
            lamp.green_from = now
        if code not in GREENS and lamp.code in GREENS:
            lamp.green_end = now
        if code == YELLOW and lamp.code != YELLOW:
            lamp.yellow_from = now
        lamp.code = code

    def _judge_together(self, shown: Shown) -> None:
        now, since = shown.time_ms, self.controlled_from
        assert since is not None
        green = {number for number, code in enumerate(shown.codes) if code in GREENS}
        for i, j in self.junction.intergreen_ms:
            if i < j and i in green and j in green:
                self._fault(shown, f"conflicting groups {i} and {j} green together")
        for number in self.served - green:
            group = self.junction.groups[number]
            due = max(self.lamps[number].green_end + group.max_red_ms, since)
            if now > due + self.overdue_allowance_ms:
                self._fault(shown, f"group {number}: red since {self.lamps[number].green_end}")
        if shown.codes in self.safe:
            self.stage_seen = now
        elif now - self.stage_seen > self.one_change_ms:
            self._fault(shown, f"no safe stage shown for {now - self.stage_seen} ms")


# ---- streams of commands ----


@dataclass(frozen=True)
class LocalProgram:
    """A plausible local fixed-time program: safe stages in turn, yellow, all red, next."""

    junction: Junction
    green_ms: int
    red_amber: bool

    def codes(self, time_ms: int) -> list[int]:
        spec = self.junction
        stages = spec.safe_stages()
        change = max([g.yellow_ms for g in spec.groups] + list(spec.intergreen_ms.values()))
        number, moment = divmod(time_ms, self.green_ms + change)
        now = spec.codes(stages[number % len(stages)])
        following = spec.codes(stages[(number + 1) % len(stages)])
        if moment < self.green_ms:
            return now
        out = []
        for group, old, new in zip(spec.groups, now, following, strict=True):
            if old in GREENS and new in GREENS:
                out.append(old)
            elif old in GREENS and moment < self.green_ms + group.yellow_ms:
                out.append(YELLOW)
            elif new in GREENS and self.red_amber and moment >= self.green_ms + change - 1000:
                out.append(RED_AMBER)
            else:
                out.append(RED)
        return out


@dataclass(frozen=True)
class Stream:
    """For each row: number of ticks, and the command of each junction in all of them.

    A command is a local stage number, or the name of something else.
    """

    junctions: Sequence[Junction]
    step_ms: int
    jitter_ms: Sequence[int]
    rows: Sequence[tuple[int, Sequence[int | str]]]
    local_green_ms: int = 12_000
    red_amber: bool = False

    def commands(self, row: Sequence[int | str]) -> list[int]:
        out, first = [], 0
        total = sum(len(j.stages) for j in self.junctions)
        odd = {
            "keep": KEEP, "local": LOCAL, "minus": -3, "least": -(2**31), "most": 2**31 - 1,
            "beyond": total,
        }  # fmt: skip
        for wanted, junction in zip(row, self.junctions, strict=True):
            if wanted == "elsewhere":
                out.append((first + len(junction.stages)) % max(total, 1))
            elif isinstance(wanted, str):
                out.append(odd[wanted])
            else:
                out.append(first + wanted % len(junction.stages))
            first += len(junction.stages)
        return out


@st.composite
def streams(draw: st.DrawFn, *, unsafe: bool = False) -> Stream:
    grain_ms = draw(st.sampled_from([1000, 100]))
    some = draw(st.lists(junctions(unsafe=unsafe, grain_ms=grain_ms), min_size=1, max_size=2))
    step_ms = draw(st.sampled_from([1000, 1000, 100, 500, 900, 2000, 5000]))
    command = st.one_of(
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["keep", "local", "minus", "least", "most", "beyond", "elsewhere"]),
    )
    # Short rows stir, long ones let a change be finished and a red be overdue.
    ticks = st.sampled_from([1, 1, 2, 3, 5, 10, 25])
    row = st.tuples(ticks, st.lists(command, min_size=len(some), max_size=len(some)))
    return Stream(
        junctions=some,
        step_ms=step_ms,
        jitter_ms=draw(st.lists(st.sampled_from([0, 0, 100, 400]), min_size=1, max_size=3)),
        rows=draw(st.lists(row, min_size=1, max_size=25)),
        local_green_ms=draw(st.sampled_from([6000, 12_000, 20_000])),
        red_amber=draw(st.booleans()),
    )


def play(stream: Stream, see: Callable[[Guard, list[int], list[Refusal]], None]) -> list[Checker]:
    """Run the guard as the loop does: note local lamps, step, look at what is shown."""
    network = build(stream.junctions)
    slices = [slice(*network.junction_group_ptr[j : j + 2]) for j in range(network.junctions)]
    worst_step = stream.step_ms + max(stream.jitter_ms)
    checkers = [Checker(j, START_MS, worst_step) for j in stream.junctions]
    programs = [LocalProgram(j, stream.local_green_ms, stream.red_amber) for j in stream.junctions]
    guard, now, tick = Guard(network, START_MS), START_MS, 0
    for ticks, row in stream.rows:
        commands = stream.commands(row)
        for _ in range(ticks):
            for j in np.flatnonzero(guard.local).tolist():
                codes = programs[j].codes(now - START_MS)
                guard.observe_local(j, np.array(codes, np.uint8), now)
                checkers[j].see(Shown(now, codes, by_guard=False))
            refusals = guard.step(Commands(now, np.array(commands, np.int32)))
            for j, checker in enumerate(checkers):
                if not guard.local[j]:
                    checker.see(Shown(now, guard.group_code[slices[j]].tolist(), by_guard=True))
            see(guard, commands, refusals)
            now += stream.step_ms + stream.jitter_ms[tick % len(stream.jitter_ms)]
            tick += 1
    return checkers


def assert_safe(stream: Stream) -> None:
    for checker in play(stream, lambda *_: None):
        assert not checker.faults, checker.faults[:5]


# ---- properties ----


@settings(max_examples=400, deadline=None)
@given(stream=streams())
def test_any_stream_of_commands_is_safe(stream: Stream) -> None:
    build(stream.junctions).validate()
    assert_safe(stream)


@settings(max_examples=300, deadline=None)
@given(stream=streams(unsafe=True))
def test_an_unsafe_stage_table_is_safe_too(stream: Stream) -> None:
    assert_safe(stream)


@settings(max_examples=300, deadline=None)
@given(stream=streams(unsafe=True))
def test_refusals_name_the_reason(stream: Stream) -> None:
    """What was wanted is shown or coming, or it was refused with a reason that holds."""
    network = build(stream.junctions)
    told = [Reason.NONE] * len(stream.junctions)
    changing = [False] * len(stream.junctions)

    def see(guard: Guard, commands: list[int], refusals: list[Refusal]) -> None:
        state = guard.state()
        for refusal in refusals:
            assert refusal.reason != Reason.NONE
            assert refusal.wanted == commands[refusal.junction]
            told[refusal.junction] = refusal.reason
        for j, wanted in enumerate(commands):
            stages = range(*network.junction_stage_ptr[j : j + 2].tolist())
            safe = [stages[s] for s in stream.junctions[j].safe_stages()]
            stage, coming = int(state.stage[j]), int(state.coming[j])
            assert {stage, coming} <= {-1, *safe}
            was_changing, changing[j] = changing[j], coming >= 0
            if wanted == KEEP or (wanted < 0 and wanted != LOCAL and was_changing):
                continue
            if guard.local[j]:
                assert told[j] == Reason.NONE
                continue
            if wanted == (coming if coming >= 0 else stage):
                # What is wanted may be shown while an overdue group is about to be served.
                if told[j] != Reason.MAX_RED:
                    told[j] = Reason.NONE
                continue
            if wanted == LOCAL:
                holds = {Reason.NO_RELEASE, Reason.MIN_GREEN}
            elif wanted in safe:
                holds = {Reason.MIN_GREEN}
            elif wanted in stages:
                holds = {Reason.CONFLICTING_STAGE}
            else:
                holds = {Reason.UNKNOWN_STAGE}
            assert told[j] in holds | {Reason.CHANGING, Reason.MAX_RED}

    play(stream, see)


# ---- examples worked by hand ----


class Street:
    """One guard, stepped second by second with one command per junction."""

    def __init__(self, *specs: Junction, step_ms: int = 1000) -> None:
        self.network = build(specs)
        self.guard = Guard(self.network, START_MS)
        self.now = START_MS
        self.step_ms = step_ms
        self.refusals: list[Refusal] = []

    def run(self, seconds: float, *commands: int) -> list[str]:
        """Command the same until the time is over; the lamps of each tick as letters."""
        shown = []
        end = self.now + round(seconds * 1000)
        while self.now < end:
            self.refusals = self.guard.step(Commands(self.now, np.array(commands, np.int32)))
            shown.append("".join("rygGsoOu"[c] for c in self.guard.group_code))
            self.now += self.step_ms
        return shown

    @property
    def stage(self) -> int:
        return int(self.guard.state().stage[0])

    def reasons(self) -> list[Reason]:
        return [refusal.reason for refusal in self.refusals]


def test_ends_are_staggered() -> None:
    """The crossing (10 s to clear) ends at once, the vehicles of its stage 5 s later."""
    street = Street(crossroads())
    assert street.run(20, 0)[-1] == "GrG"
    change = street.run(14, 1)
    assert change[:5] == ["Grr"] * 5
    assert change[5:8] == ["yrr"] * 3
    assert change[8:10] == ["rrr"] * 2
    assert change[10:] == ["rGr"] * 4


def test_the_first_stage_waits_for_what_was_before() -> None:
    """Nothing is known of the time before: clearances into the first stage run first."""
    street = Street(crossroads())
    shown = street.run(12, 1)
    assert shown == ["rrr"] * 10 + ["rGr"] * 2


def test_continuing_greens_stay_green() -> None:
    spec = crossroads(stages=["GrG", "rGr", "Grr", "grG"])
    street = Street(spec)
    street.run(20, 0)
    assert set(street.run(15, 2)) == {"Grr"}
    assert street.guard.state().group_since_ms[0] == START_MS + 5000
    assert {codes[0] for codes in street.run(15, 3)} <= {"g", "G"}
    assert street.guard.state().group_since_ms[0] == START_MS + 5000
    assert street.guard.group_code[0] == PERMISSIVE


def test_a_group_without_conflict_starts_with_its_stage() -> None:
    """All new greens of a stage start together, even one that nothing delays."""
    spec = Junction(
        groups=[Group(), Group(), Group()],
        intergreen_ms={(0, 1): 6000, (1, 0): 6000},
        stages=["Grr", "rGG"],
    )
    street = Street(spec)
    street.run(20, 0)
    shown = street.run(8, 1)
    assert shown == ["Grr"] * 0 + ["yrr"] * 3 + ["rrr"] * 3 + ["rGG"] * 2


def test_min_green_keeps_the_stage() -> None:
    street = Street(crossroads())
    street.run(6, 0)
    began = int(street.guard.state().since_ms[0])
    assert began == START_MS + 5000
    street.run(1, 1)
    assert street.reasons() == [Reason.MIN_GREEN]
    assert street.run(4, 1) == ["GrG"] * 4
    assert street.reasons() == []  # told once
    assert street.stage == 0
    assert street.run(2, 1) == ["GrG", "Grr"]  # the crossing has had its 7 s


def test_unknown_stage_is_kept_out() -> None:
    street = Street(crossroads(), crossroads())
    street.run(20, 0, 2)
    for wanted in (2, -3, 4, 2**31 - 1, -(2**31)):
        street.run(1, 0, 3)  # junction 1 is fine, so a fresh refusal is told
        shown = street.run(1, wanted, KEEP)
        assert shown[0][:3] == "GrG"
        assert [(r.junction, r.wanted, r.reason) for r in street.refusals] == [
            (0, wanted, Reason.UNKNOWN_STAGE)
        ]


@pytest.mark.parametrize("wanted", [2**32, 2**32 + 1, 2**40, -(2**32) + 1])
def test_numbers_beyond_32_bits_do_not_wrap(wanted: int) -> None:
    street = Street(crossroads())
    street.run(20, 0)
    refusals = street.guard.step(Commands(street.now, np.array([wanted], np.int64)))
    assert [r.reason for r in refusals] == [Reason.UNKNOWN_STAGE]
    assert street.guard.state().coming[0] == -1


@pytest.mark.parametrize("wanted", [99, -3, 2**31 - 1])
def test_unknown_stage_does_not_keep_a_junction_dark(wanted: int) -> None:
    """Taken over with nothing but nonsense: the junction shows its first stage all the same."""
    street = Street(crossroads())
    street.run(1, wanted)
    assert street.reasons() == [Reason.UNKNOWN_STAGE]
    street.run(20, wanted)
    assert street.stage == 0


def test_unsafe_first_stage_does_not_keep_a_junction_dark() -> None:
    street = Street(crossroads(stages=["GGr", "rGr", "GrG"]))
    street.run(20, KEEP)
    assert street.stage == 1


def test_conflicting_stage_is_kept_out() -> None:
    spec = crossroads(stages=["GrG", "GGr", "rGr"])
    with pytest.raises(NetworkError, match="conflicting groups"):
        build([spec]).validate()
    street = Street(spec)
    street.run(20, 0)
    assert street.run(1, 1) == ["GrG"]
    assert street.reasons() == [Reason.CONFLICTING_STAGE]
    assert set(street.run(30, 1)) == {"GrG"}
    assert street.run(12, 2)[-1] == "rGr"


def test_a_change_is_finished_first() -> None:
    street = Street(crossroads())
    street.run(20, 0)
    street.run(3, 1)
    street.run(1, 0)
    assert street.reasons() == [Reason.CHANGING]
    shown = street.run(9, 0)
    assert shown[-1] == "rGr"
    assert street.stage == 1


def test_max_red_is_served_whatever_is_asked() -> None:
    spec = crossroads(
        groups=[Group(), Group(max_red_ms=60_000), Group(yellow_ms=0, min_green_ms=7000)]
    )
    street = Street(spec)
    shown = street.run(60, 0)
    assert set(shown[5:]) == {"GrG"}
    street.run(1, 0)
    assert street.reasons() == [Reason.MAX_RED]
    assert street.guard.state().coming[0] == 1
    assert street.run(10, 0)[-1] == "rGr"
    back = street.run(20, 0)
    assert back[-1] == "GrG"


def test_max_red_acts_on_keep_too() -> None:
    street = Street(crossroads(groups=[Group(), Group(max_red_ms=60_000), Group(yellow_ms=0)]))
    street.run(60, KEEP)
    assert street.stage == 0
    street.run(1, KEEP)
    assert street.reasons() == [Reason.MAX_RED]
    assert street.run(11, KEEP)[-1] == "rGr"


def test_two_overdue_groups_are_served_in_order() -> None:
    """Impossible demands (maximum reds shorter than a cycle) are shared out, none starves."""
    spec = Junction(
        groups=[Group(max_red_ms=1000) for _ in range(3)],
        intergreen_ms={(i, j): 5000 for i in range(3) for j in range(3) if i != j},
        stages=["Grr", "rGr", "rrG"],
    )
    street = Street(spec)
    greens = [codes for codes in street.run(120, 0) if "G" in codes]
    order = [codes for k, codes in enumerate(greens) if k == 0 or greens[k - 1] != codes]
    assert order[:6] == ["Grr", "rGr", "rrG"] * 2


def test_local_control_hands_over_its_clearances() -> None:
    street = Street(crossroads())
    guard = street.guard
    guard.observe_local(0, np.array([PRIORITY, RED, PRIORITY], np.uint8), START_MS)
    street.run(20, LOCAL)
    guard.observe_local(0, np.array([YELLOW, RED, RED], np.uint8), street.now)
    # Taken over one second into the yellow: two more, the crossing has 9 of its 10 s to go.
    street.run(1, LOCAL)
    assert street.run(12, 1) == ["yrr"] * 2 + ["rrr"] * 7 + ["rGr"] * 3


def test_local_yellow_before_green_is_not_cut_short() -> None:
    """Some programs show yellow before green; taken over there, it runs out and turns red."""
    street = Street(crossroads())
    guard = street.guard
    guard.observe_local(0, np.array([RED, RED, RED], np.uint8), START_MS)
    street.run(60, LOCAL)
    guard.observe_local(0, np.array([YELLOW, RED, RED], np.uint8), street.now)
    shown = street.run(4, 0)  # one tick of red, so that nobody ever sees yellow turn green
    assert shown == ["yrr"] * 3 + ["rrr"]
    assert street.run(1, 0) == ["GrG"]


def test_a_junction_taken_over_is_not_released() -> None:
    """A local program would go on anywhere in its cycle, without yellow or clearance."""
    street = Street(crossroads())
    street.run(3, LOCAL)
    assert street.guard.local.tolist() == [True]
    street.run(20, 0)
    street.run(2, 1)  # the crossing has ended
    street.run(1, LOCAL)
    assert street.reasons() == [Reason.NO_RELEASE]
    assert street.guard.local.tolist() == [False]
    street.run(20, LOCAL)
    assert street.stage == 1  # the change under way was finished


def test_another_refused_command_is_told_again() -> None:
    street = Street(crossroads(stages=["GrG", "rGr", "Grr"]))
    street.run(7, 0)
    for wanted in (1, 2, 1):
        street.run(1, wanted)
        assert [(r.wanted, r.reason) for r in street.refusals] == [(wanted, Reason.MIN_GREEN)]


@pytest.mark.parametrize("step_ms", [400, 900, 1300, 2700, 5000])
def test_late_ticks_do_not_shorten_yellow_or_clearance(step_ms: int) -> None:
    """A green planned to end between two ticks ends late; what follows waits for it."""
    spec = crossroads(intergreen_ms={(0, 1): 4500, (1, 0): 4500, (2, 1): 10_200, (1, 2): 4500})
    rows = [(40_000 // step_ms, [wanted]) for wanted in (0, 1, 0, 1)]
    assert_safe(Stream([spec], step_ms, [0], rows))


@pytest.mark.parametrize("commands", [[], [0, 0], [[0]], 0])
def test_wrong_number_of_commands(commands: object) -> None:
    guard = Guard(build([crossroads()]), START_MS)
    with pytest.raises(SafetyError, match="command every junction once"):
        guard.step(Commands(START_MS, np.array(commands, np.int32)))


def test_state_is_a_copy() -> None:
    street = Street(crossroads())
    before = street.guard.state()
    street.run(20, 0)
    assert before.stage.tolist() == [-1]
    assert before.group_code.tolist() == [RED, RED, RED]


# ---- the checker itself must see faults ----


@pytest.mark.parametrize(
    "broken",
    [
        "none", "conflict", "yellow", "short yellow", "intergreen", "minimum",
        "yellow to green", "starved", "dark",
    ],
)  # fmt: skip
def test_the_checker_sees(broken: str) -> None:
    good = ["rrr"] * 10 + ["GrG"] * 10 + ["Grr"] * 5 + ["yrr"] * 3 + ["rrr"] * 2 + ["rGr"] * 9
    tapes = {
        "none": (good, ""),
        "conflict": ([*good, "GGr"], "green together"),
        "yellow": ([*good, "rrr"], "without yellow"),
        "short yellow": ([*good, "ryr", "rrr"], "yellow for 1000 ms only"),
        "intergreen": ([*good, "ryr", "ryr", "ryr", "Grr"], "intergreen 1->0: 3000 ms"),
        "minimum": ([*good[:13], "yrr"], "green for 3000 ms only"),
        "yellow to green": ([*good, "ryr", "rGr"], "yellow to green"),
        "starved": (good[:20] + ["GrG"] * 300, "group 1: red since"),
        "dark": (good[:20] + ["Grr"] * 60, "no safe stage shown"),
    }
    tape, fault = tapes[broken]
    checker = Checker(crossroads(), START_MS, 1000)
    for second, letters in enumerate(tape):
        codes = ["rygGsoOu".index(letter) for letter in letters]
        checker.see(Shown(START_MS + 1000 * second, codes, by_guard=True))
    assert (fault in " ".join(checker.faults)) if fault else not checker.faults
