"""Rows of feeds to sums per place and period: as the twin has it, however batches are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import run_sums as slow
from topis.ingest.aggregate import STANDING_CMPS, Aggregator
from topis.model.schemas import TIME

BEGIN_MS, PERIOD_MS, PLACES, PERIODS = 1_794_697_200_000, 30_000, 4, 3

rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, PLACES + 1)),
        st.integers(0, 2),
        st.integers(-5, 18).map(lambda t: BEGIN_MS + t * 7000),
        st.one_of(st.none(), st.integers(0, 5000)),
    ),
    max_size=60,
)


def batch(content: list[tuple[int | None, int, int, int | None]]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "lane": pa.array([r[0] for r in content], pa.uint32()),
            "track": pa.array([r[1] for r in content], pa.uint32()),
            "time": pa.array([r[2] for r in content], pa.int64()).cast(TIME),
            "speed_cmps": pa.array([r[3] for r in content], pa.uint16()),
        }
    )


def aggregator() -> Aggregator:
    return Aggregator(
        "lane", "track", places=PLACES, begin_ms=BEGIN_MS, periods=PERIODS, period_ms=PERIOD_MS
    )


@settings(max_examples=150, deadline=None)
@given(content=rows, ordered=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_sums_are_those_of_the_twin_however_batches_are_cut(
    content: list[tuple[int | None, int, int, int | None]], ordered: bool, cuts: list[int]
) -> None:
    if ordered:
        content = sorted(content, key=lambda r: (r[1], r[2]))
    ours = aggregator()
    whole = batch(content)
    edges = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    ours.add(whole.slice(a, b - a) for a, b in itertools.pairwise(edges))
    twin = slow.RunSums(PLACES, PERIODS, BEGIN_MS, PERIOD_MS, STANDING_CMPS)
    twin.add((p or 0, who, t, slow.NO_SPEED if v is None else v) for p, who, t, v in content)
    for name, sums in twin.sums.items():
        expected = np.zeros((PLACES, PERIODS), np.int64)
        for cell, value in sums.items():
            expected[cell] = value
        np.testing.assert_array_equal(getattr(ours.sums, name), expected, err_msg=name)
    assert ours.outside == twin.outside


def test_worked_by_hand() -> None:
    """A vehicle comes, stands, leaves over the end of a period; another drives through."""
    content = [(1, 1, BEGIN_MS + 10_000 * k, 100 if k < 3 else 600) for k in range(5)]
    content += [(1, 2, BEGIN_MS + 5_000, 1000), (2, 2, BEGIN_MS + 6_000, None)]
    ours = aggregator()
    ours.add([batch(content)])
    sums = ours.sums
    assert sums.count[1].tolist() == [4, 2, 0]
    assert sums.things[1].tolist() == [2, 1, 0]
    assert sums.standing[1].tolist() == [3, 0, 0]
    assert sums.speed_mps[1, 0] == pytest.approx((3 * 1.0 + 10.0) / 4)
    assert sums.count[2].tolist() == [1, 0, 0]
    assert np.isnan(sums.speed_mps[2, 0])
