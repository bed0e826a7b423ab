"""Before and after: what changed, how sure that is, and whether demand did."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topis.errors import InputError
from topis.report.before_after import compare_before_after

QUARTER_MS = 900_000


def run(delays_s: list[float], volume_veh: int = 100, junction: str = "A", day: int = 0) -> Any:
    begin_ms = 86_400_000 * day + 7 * 3_600_000
    return SimpleNamespace(
        periods=pd.DataFrame(
            {
                "junction": junction,
                "period_ms": begin_ms + QUARTER_MS * np.arange(len(delays_s)),
                "volume_veh": volume_veh,
                "control_delay_s": delays_s,
            }
        )
    )


def of(table: pd.DataFrame, junction: str = "A") -> pd.Series:
    return table[table["junction"] == junction].iloc[0]


def test_by_hand() -> None:
    before, after = run([40.0, 42.0, 38.0, 40.0]), run([30.0, 31.0, 29.0, 30.0], day=7)
    row = of(compare_before_after(before, after))
    assert (row["delay_before_s"], row["delay_after_s"], row["change_s"]) == (40.0, 30.0, -10.0)
    assert row["low_s"] <= -10.0 <= row["high_s"] < 0.0
    assert row["verdict"] == "better"
    assert of(compare_before_after(after, before))["verdict"] == "worse"


def test_another_demand_is_no_improvement() -> None:
    row = of(compare_before_after(run([40.0] * 6), run([20.0] * 6, volume_veh=80)))
    assert row["demand_change"] == pytest.approx(-0.2)
    assert row["verdict"] == "demand"


def test_few_periods_give_no_interval() -> None:
    row = of(compare_before_after(run([40.0] * 3), run([20.0] * 3)))
    assert np.isnan(row["low_s"])
    assert row["verdict"] == "too short"


def test_other_hours_or_signals_have_nothing_in_common() -> None:
    with pytest.raises(InputError, match="same network and hours"):
        compare_before_after(run([40.0] * 6), run([20.0] * 6, junction="B"))


@settings(max_examples=50, deadline=None)
@given(
    delays=st.lists(st.floats(5.0, 90.0), min_size=4, max_size=12),
    volumes=st.integers(20, 400),
)
def test_the_same_twice_is_not_clear_and_the_interval_holds_the_change(
    delays: list[float], volumes: int
) -> None:
    row = of(compare_before_after(run(delays, volumes), run(delays, volumes)))
    assert row["change_s"] == 0.0
    assert row["verdict"] == "not clear"
    other = of(compare_before_after(run(delays, volumes), run(delays[::-1], volumes)), "all")
    assert other["low_s"] - 1e-9 <= 0.0 <= other["high_s"] + 1e-9
