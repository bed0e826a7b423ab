"""Small synthetic networks for tests: written by hand, or drawn by hypothesis.

Every junction gets one approach road of one lane per vehicle group and one road out of it;
pedestrian groups have a signal head and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from topis.model.network import Network

CODE_OF_LETTER = {"r": 0, "y": 1, "g": 2, "G": 3, "s": 4, "u": 7}


@dataclass(frozen=True)
class Group:
    """One signal group; a pedestrian group is one without yellow."""

    yellow_ms: int = 3000
    min_green_ms: int = 5000
    max_red_ms: int = 180_000

    @property
    def walks(self) -> bool:
        return self.yellow_ms == 0


@dataclass(frozen=True)
class Junction:
    """``intergreen_ms[i, j]``: end of green of i to start of green of j, both ways round."""

    groups: Sequence[Group]
    intergreen_ms: Mapping[tuple[int, int], int]
    stages: Sequence[str]
    stage_min_ms: Sequence[int] = ()
    name: str = ""

    def codes(self, stage: int) -> list[int]:
        return [CODE_OF_LETTER[letter] for letter in self.stages[stage]]

    def safe_stages(self) -> list[int]:
        """Local numbers of the stages that show no conflicting groups green."""
        return [
            number
            for number, letters in enumerate(self.stages)
            if not any(letters[i] in "gG" and letters[j] in "gG" for i, j in self.intergreen_ms)
        ]


@dataclass
class _Columns:
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, **values: float) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value)

    def get(self, name: str) -> list[float]:
        return self.values.get(name, [])


def build(junctions: Sequence[Junction]) -> Network:
    """The `Network` of some junctions; it is not validated here."""
    col = _Columns()
    link_ids: list[str] = []
    lane_count = 0
    conns: list[tuple[int, int, int, int]] = []  # from lane, to lane, junction, group
    first_group = first_stage = 0
    group_ptr, head_ptr, stage_ptr, code_ptr, conflict_ptr = [0], [0], [0], [0], [0]
    program_ptr, program_stage_ptr = [0], [0]
    for number, junction in enumerate(junctions):
        vehicles = [g for g, group in enumerate(junction.groups) if not group.walks]
        for g in vehicles:
            link_ids.append(f"j{number}in{g}")
            col.add(link_junction=number)
        link_ids.append(f"j{number}out")
        col.add(link_junction=-1)
        way_out = lane_count + len(vehicles)
        conns += [
            (lane_count + k, way_out, number, first_group + g) for k, g in enumerate(vehicles)
        ]
        lane_count = way_out + 1
        for g, group in enumerate(junction.groups):
            col.add(
                group_kind=int(group.walks),
                group_min_green_ms=group.min_green_ms,
                group_yellow_ms=group.yellow_ms,
                group_max_red_ms=group.max_red_ms,
                group_length_m=8.0 if group.walks else 0.0,
                head_group=first_group + g,
            )
            others = sorted(j for i, j in junction.intergreen_ms if i == g)
            for j in others:
                col.add(conflict_idx=first_group + j, conflict_ms=junction.intergreen_ms[g, j])
            conflict_ptr.append(conflict_ptr[-1] + len(others))
        minimum = junction.stage_min_ms or [5000] * len(junction.stages)
        for s in range(len(junction.stages)):
            col.add(stage_min_green_ms=minimum[s], stage_max_green_ms=60_000)
            codes = junction.codes(s)
            for code in codes:
                col.add(stage_code=code)
            code_ptr.append(code_ptr[-1] + len(codes))
            col.add(
                program_stage=first_stage + s, program_split_ms=20_000, program_start_ms=20_000 * s
            )
        col.add(program_cycle_ms=20_000 * len(junction.stages))
        program_ptr.append(number + 1)
        program_stage_ptr.append(program_stage_ptr[-1] + len(junction.stages))
        first_group += len(junction.groups)
        first_stage += len(junction.stages)
        group_ptr.append(first_group)
        head_ptr.append(first_group)
        stage_ptr.append(first_stage)
    return Network(
        junction_ids=tuple(j.name or f"j{n}" for n, j in enumerate(junctions)),
        link_ids=tuple(link_ids),
        lane_ids=tuple(f"{link}_0" for link in link_ids),
        program_ids=("0",) * len(junctions),
        junction_xy_m=np.zeros((len(junctions), 2)),
        link_length_m=np.full(lane_count, 200.0, np.float32),
        link_speed_mps=np.full(lane_count, 13.9, np.float32),
        link_lane_ptr=np.arange(lane_count + 1, dtype=np.int32),
        link_junction=np.array(col.get("link_junction"), np.int32),
        link_shape_ptr=np.arange(lane_count + 1, dtype=np.int32) * 2,
        link_shape_m=np.zeros((2 * lane_count, 2), np.float32),
        lane_link=np.arange(lane_count, dtype=np.int32),
        lane_length_m=np.full(lane_count, 200.0, np.float32),
        lane_use=np.zeros(lane_count, np.uint8),
        move_from_link=np.array([c[0] for c in conns], np.int32),
        move_to_link=np.array([c[1] for c in conns], np.int32),
        move_junction=np.array([c[2] for c in conns], np.int32),
        move_turn=np.zeros(len(conns), np.uint8),
        link_move_ptr=_pointer_into([c[0] for c in conns], lane_count),
        lane_conn_ptr=_pointer_into([c[0] for c in conns], lane_count),
        conn_from_lane=np.array([c[0] for c in conns], np.int32),
        conn_to_lane=np.array([c[1] for c in conns], np.int32),
        conn_move=np.arange(len(conns), dtype=np.int32),
        conn_group=np.array([c[3] for c in conns], np.int32),
        conn_share=np.ones(len(conns), np.float32),
        conn_yield_ptr=np.zeros(len(conns) + 1, np.int32),
        conn_yield_idx=np.zeros(0, np.int32),
        junction_head_ptr=np.array(head_ptr, np.int32),
        head_group=np.array(col.get("head_group"), np.int32),
        junction_group_ptr=np.array(group_ptr, np.int32),
        group_kind=np.array(col.get("group_kind"), np.uint8),
        group_min_green_ms=np.array(col.get("group_min_green_ms"), np.int32),
        group_yellow_ms=np.array(col.get("group_yellow_ms"), np.int32),
        group_max_red_ms=np.array(col.get("group_max_red_ms"), np.int32),
        group_length_m=np.array(col.get("group_length_m"), np.float32),
        conflict_ptr=np.array(conflict_ptr, np.int32),
        conflict_idx=np.array(col.get("conflict_idx"), np.int32),
        conflict_intergreen_ms=np.array(col.get("conflict_ms"), np.int32),
        junction_stage_ptr=np.array(stage_ptr, np.int32),
        stage_min_green_ms=np.array(col.get("stage_min_green_ms"), np.int32),
        stage_max_green_ms=np.array(col.get("stage_max_green_ms"), np.int32),
        stage_code_ptr=np.array(code_ptr, np.int32),
        stage_code=np.array(col.get("stage_code"), np.uint8),
        junction_program_ptr=np.array(program_ptr, np.int32),
        junction_program=np.arange(len(junctions), dtype=np.int32),
        program_cycle_ms=np.array(col.get("program_cycle_ms"), np.int32),
        program_offset_ms=np.zeros(len(junctions), np.int32),
        program_stage_ptr=np.array(program_stage_ptr, np.int32),
        program_stage=np.array(col.get("program_stage"), np.int32),
        program_split_ms=np.array(col.get("program_split_ms"), np.int32),
        program_start_ms=np.array(col.get("program_start_ms"), np.int32),
    )


def _pointer_into(owners: Sequence[int], count: int) -> np.ndarray:
    return np.searchsorted(np.array(owners, np.int64), np.arange(count + 1)).astype(np.int32)


def crossroads(**changes: object) -> Junction:
    """North-south, east-west and a crossing that walks with north-south.

    The crossing needs 10 s to clear, vehicles 5 s (yellow 3 s) to the crossing road.
    """
    whole: dict[str, object] = {
        "groups": [Group(), Group(), Group(yellow_ms=0, min_green_ms=7000)],
        "intergreen_ms": {(0, 1): 5000, (1, 0): 5000, (2, 1): 10_000, (1, 2): 5000},
        "stages": ["GrG", "rGr"],
    }
    return Junction(**(whole | changes))  # type: ignore[arg-type]


@st.composite
def junctions(draw: st.DrawFn, *, unsafe: bool = False, grain_ms: int = 100) -> Junction:
    """A junction with any stage table; with ``unsafe``, some of its stages may conflict.

    At least one stage is safe always. Conflicts are symmetric, intergreens are not; none is
    shorter than the yellow of the group that ends.
    """
    count = draw(st.integers(2, 5))
    greens = st.lists(st.sampled_from("rrgGGs"), min_size=count, max_size=count)
    stages = draw(
        st.lists(
            greens.map("".join).filter(lambda s: "g" in s or "G" in s),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )

    def times(low_s: int, high_s: int) -> st.SearchStrategy[int]:
        return st.integers(low_s * 1000 // grain_ms, high_s * 1000 // grain_ms).map(
            lambda n: n * grain_ms
        )

    groups = [
        Group(
            yellow_ms=draw(st.one_of(st.just(3000), times(3, 6), st.just(0))),
            min_green_ms=draw(times(0, 10)),
            max_red_ms=draw(st.sampled_from([20_000, 60_000, 180_000])),
        )
        for _ in range(count)
    ]
    heed = stages[:1] if unsafe else stages
    together = {
        (i, j)
        for letters in heed
        for i in range(count)
        for j in range(count)
        if letters[i] in "gG" and letters[j] in "gG"
    }
    intergreen_ms = {}
    for i in range(count):
        for j in range(i):
            if (i, j) not in together and draw(st.booleans()):
                for a, b in ((i, j), (j, i)):
                    intergreen_ms[a, b] = groups[a].yellow_ms + draw(times(0, 12))
    if unsafe:
        stages = draw(st.permutations(stages))
    return Junction(
        groups=groups,
        intergreen_ms=intergreen_ms,
        stages=stages,
        stage_min_ms=[draw(times(0, 12)) for _ in stages],
    )
