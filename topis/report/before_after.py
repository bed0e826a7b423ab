"""Two journals of the same signals: delay before and after, with intervals, if demand was alike.

Periods of the same time of day are pairs; the interval is of drawing pairs again (bootstrap, Efron
1979, Ann. Stat. 7). Where more or fewer vehicles came, a change of delay may be theirs and not the
plan's: that is said, and nothing claimed.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.errors import InputError
from topis.report.signal_measures import SignalMeasures

#: Demand that differs by more than this share is another demand.
DEMAND_SHARE = 0.1
#: Fewer pairs of periods give no interval.
FEWEST_PAIRS = 4
REPEATS = 2000
BETTER, WORSE, NOT_CLEAR, DEMAND, SHORT = "better", "worse", "not clear", "demand", "too short"
_DAY_MS = 86_400_000
F8 = NDArray[np.float64]


def compare_before_after(before: SignalMeasures, after: SignalMeasures) -> pd.DataFrame:
    """A row a junction that both tell of, and ``all``; the largest changes of delay first.

    Columns: ``pairs``, ``volume_before_veh``, ``volume_after_veh``, ``demand_change`` (share),
    ``delay_before_s``, ``delay_after_s`` (control delay a vehicle), ``change_s`` with ``low_s`` and
    ``high_s`` (95 %; NaN with fewer than `FEWEST_PAIRS`), and ``verdict``: better, worse, not
    clear, demand (it differs by more than `DEMAND_SHARE`), too short.

    Raises
    ------
    InputError
        They have no period of the same time of day, or no signal, in common.
    """
    tables = [
        _by_period(found).add_suffix(suffix)
        for found, suffix in ((before, "_before"), (after, "_after"))
    ]
    both = tables[0].join(tables[1], how="inner")
    if both.empty:
        raise InputError(
            "the two runs have no signal at the same time of day in common; name runs of the same "
            "network and hours"
        )
    rows = [_row(str(name), part) for name, part in both.groupby(level="junction", sort=False)]
    each = pd.DataFrame(rows).sort_values(
        "change_s", key=lambda change: -change.abs(), kind="stable"
    )
    whole = pd.DataFrame([_row("all", both.groupby(level="moment_ms").sum())])
    return pd.concat([whole, each], ignore_index=True)


def _by_period(found: SignalMeasures) -> pd.DataFrame:
    """Vehicles and their delay by junction and time of day."""
    known = found.periods[found.periods["control_delay_s"].notna()]
    table = pd.DataFrame(
        {
            "junction": known["junction"],
            "moment_ms": known["period_ms"] % _DAY_MS,
            "veh": known["volume_veh"].astype(float),
            "delay_veh_s": known["volume_veh"] * known["control_delay_s"],
        }
    )
    return table.groupby(["junction", "moment_ms"]).sum()


def _row(name: str, pairs: pd.DataFrame) -> dict[str, object]:
    veh_b, delay_b, veh_a, delay_a = (
        pairs[column].to_numpy(dtype=np.float64)
        for column in ("veh_before", "delay_veh_s_before", "veh_after", "delay_veh_s_after")
    )
    change_s = _change(veh_b, delay_b, veh_a, delay_a)
    low_s = high_s = np.nan
    if len(pairs) >= FEWEST_PAIRS:
        drawn = np.random.default_rng(0xBA).integers(len(pairs), size=(REPEATS, len(pairs)))
        changes = _change(veh_b[drawn], delay_b[drawn], veh_a[drawn], delay_a[drawn])
        low_s, high_s = (float(q) for q in np.percentile(changes, [2.5, 97.5]))
    demand = float(veh_a.sum() / max(veh_b.sum(), 1.0) - 1.0)
    return {
        "junction": name,
        "pairs": len(pairs),
        "volume_before_veh": int(veh_b.sum()),
        "volume_after_veh": int(veh_a.sum()),
        "demand_change": demand,
        "delay_before_s": float(delay_b.sum() / max(veh_b.sum(), 1.0)),
        "delay_after_s": float(delay_a.sum() / max(veh_a.sum(), 1.0)),
        "change_s": float(change_s),
        "low_s": low_s,
        "high_s": high_s,
        "verdict": _verdict(demand, low_s, high_s),
    }


def _change(veh_b: F8, delay_b: F8, veh_a: F8, delay_a: F8) -> F8:
    """Delay a vehicle after less before, over the last axis."""
    after = delay_a.sum(axis=-1) / np.maximum(veh_a.sum(axis=-1), 1.0)
    return np.asarray(after - delay_b.sum(axis=-1) / np.maximum(veh_b.sum(axis=-1), 1.0))


def _verdict(demand: float, low_s: float, high_s: float) -> str:
    if abs(demand) > DEMAND_SHARE:
        return DEMAND
    if np.isnan(low_s):
        return SHORT
    return BETTER if high_s < 0.0 else WORSE if low_s > 0.0 else NOT_CLEAR
