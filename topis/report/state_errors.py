"""How far a `StreetState` was from what really happened, where the truth is known.

Compared are approaches: the lanes up to a stop line with the road behind them, since where a
queue stands among the lanes of one approach, and where a road's link ends, matters to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from topis.errors import InputError
from topis.estimation.reach import find_reach
from topis.model.network import Network
from topis.model.state import StreetState
from topis.units import MS_PER_S

PERIOD_S = 30
#: Flows and travel times are compared over this (periods): five minutes.
MEAN_OVER = 10
#: The first states are those of an engine that knows nothing yet (periods).
WARM_UP = 20
#: A mean travel time of fewer vehicles says little.
LEAST_VEH = 5
F8 = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """By 30 s and lane, [periods, lanes]: what stood at their ends, left, and took how long.

    ``time_ms`` [periods] their ends; ``travel_s`` is the sum over those who left.
    """

    time_ms: NDArray[np.int64]
    queue_veh: F8
    departed_veh: F8
    travel_s: F8


@dataclass(frozen=True)
class ErrorRow:
    """One quantity of one kind of approaches against the truth.

    ``mean`` of the truth, ``bias``, mean absolute and root mean square error, in ``unit``;
    ``guess``: mean absolute error of always guessing that mean; ``within``: share of values
    within two standard deviations, NaN where none is told.
    """

    quantity: str
    unit: str
    seen_by: str
    values: int
    mean: float
    bias: float
    mae: float
    rmse: float
    guess: float
    within: float


def read_truth(folder: Path, network: Network) -> Truth:
    """The truth that `topis synth` keeps.

    Raises
    ------
    InputError
        The folder holds none, or that of other streets.
    """
    paths = sorted((folder / "lanes").glob("*.parquet"))
    if not paths:
        raise InputError.at(folder, "holds no lanes/*.parquet", "name the truth of topis synth")
    try:
        table = pa.concat_tables(pq.read_table(path) for path in paths)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError.at(folder, f"cannot be read ({error})", "make the day again") from None
    number = {name: k for k, name in enumerate(network.lane_ids)}
    names = table["lane"].combine_chunks().dictionary_encode()
    known = np.array([number.get(name, -1) for name in names.dictionary.to_pylist()])
    lane = known[names.indices.to_numpy()]
    if (lane < 0).any():
        raise InputError.at(folder, "is the truth of other streets", "name that of this network")
    end_ms = table["time"].cast(pa.int64()).to_numpy() + PERIOD_S * MS_PER_S
    times, period = np.unique(end_ms, return_inverse=True)
    columns = []
    for name in ("queue_veh", "departed_veh", "travel_ms"):
        values = np.zeros((len(times), network.lanes))
        values[period, lane] = pc.fill_null(table[name], 0).to_numpy()
        columns.append(values)
    queue, departed, travel_ms = columns
    return Truth(times, queue, departed, departed * travel_ms / MS_PER_S)


class StateErrors:
    """Gathers states and compares them in the end."""

    def __init__(self, network: Network, truth: Truth, seen_by: NDArray[np.uint8]) -> None:
        self._network, self._truth = network, truth
        lanes = network.approach_lanes
        self._links = np.unique(network.lane_link[lanes])
        self._of_lane = np.searchsorted(self._links, network.lane_link[lanes])
        self._seen_by = np.zeros(len(self._links), dtype=np.uint8)
        np.maximum.at(self._seen_by, self._of_lane, seen_by)
        self._owner = _owners(network, self._links)
        self._states: list[tuple[int, F8, F8, F8, F8]] = []

    @property
    def compared(self) -> int:
        """Moments of which the truth is known."""
        return int(np.isin([state[0] for state in self._states], self._truth.time_ms).sum())

    def add(self, state: StreetState) -> None:
        """One moment; moments of which no truth is known are passed over."""
        count = len(self._links)
        queue, var, flow = (
            np.bincount(self._of_lane, values, minlength=count).astype(np.float64)
            for values in (state.queue_veh, state.queue_var, state.flow_vps)
        )
        owned = self._owner >= 0
        travel_s = np.bincount(self._owner[owned], state.travel_s[owned], minlength=count).astype(
            np.float64
        )
        self._states.append((state.time_ms, queue, var, flow, travel_s))

    def table(self) -> list[ErrorRow]:
        """Errors by quantity and by what sees the approaches."""
        truth, network = self._truth, self._network
        times = np.array([state[0] for state in self._states])
        both, mine, its = np.intersect1d(times, truth.time_ms, return_indices=True)
        keep = slice(WARM_UP, None)
        if len(both) <= WARM_UP + MEAN_OVER:
            return []
        queue, var, flow, travel_s = (
            np.array([state[k] for state in self._states])[mine][keep] for k in (1, 2, 3, 4)
        )
        count = len(self._links)
        line = np.full(network.lanes, -1, dtype=np.intp)
        line[network.approach_lanes] = self._of_lane
        true_queue = _gather(truth.queue_veh[its], self._owner[network.lane_link], count)[keep]
        left = _over(_gather(truth.departed_veh[its], line, count))[keep]
        true_flow = left / (MEAN_OVER * PERIOD_S)
        true_travel = _chain_travel(network, truth, its, self._owner, count)[keep]
        rows = []
        for number, name in ((2, "camera"), (1, "loops"), (0, "nobody")):
            some = self._seen_by == number
            if not some.any():
                continue
            rows.append(
                _row("queue", "veh", name, queue[:, some], true_queue[:, some], var[:, some])
            )
            rows.append(
                _row("flow", "veh/h", name, 3600 * flow[:, some], 3600 * true_flow[:, some])
            )
            enough = left[:, some] >= LEAST_VEH
            rows.append(
                _row("travel", "s", name, travel_s[:, some][enough], true_travel[:, some][enough])
            )
        return rows


def _row(
    quantity: str, unit: str, seen_by: str, found: F8, true: F8, var: F8 | None = None
) -> ErrorRow:
    known = np.isfinite(true)
    error = (found - true)[known]
    true = true[known]
    if not len(error):
        return ErrorRow(quantity, unit, seen_by, 0, *[float("nan")] * 6)
    within = float("nan")
    if var is not None:
        within = float((np.abs(error) <= 2.0 * np.sqrt(var[known])).mean())
    return ErrorRow(
        quantity, unit, seen_by, error.size, float(true.mean()), float(error.mean()),
        float(np.abs(error).mean()), float(np.sqrt((error**2).mean())),
        float(np.abs(true - true.mean()).mean()), within,
    )  # fmt: skip


def _over(values: F8) -> F8:
    """Sums over the last `MEAN_OVER` periods; the first ones over what there is."""
    total = np.cumsum(values, axis=0)
    total[MEAN_OVER:] -= total[:-MEAN_OVER].copy()
    return total


def _gather(values: F8, into: NDArray[np.integer], count: int) -> F8:
    """Columns summed into others, -1: into none."""
    out = np.zeros((len(values), count))
    some = into >= 0
    np.add.at(out.T, into[some], values[:, some].T)
    return out


def _owners(network: Network, links: NDArray[np.integer]) -> NDArray[np.intp]:
    """Approach (index into ``links``) that each link leads to alone, -1: to none or several."""
    reach = find_reach(network)
    owner = np.full(network.links, -1, dtype=np.intp)
    of_number = np.searchsorted(links, network.lane_link[network.approach_lanes])
    for link in range(network.links):
        lanes = slice(network.link_lane_ptr[link], network.link_lane_ptr[link + 1])
        rows = slice(reach.ptr[lanes.start], reach.ptr[lanes.stop])
        found = np.unique(of_number[reach.number[rows]])
        if len(found) == 1:
            owner[link] = found[0]
    return owner


def _chain_travel(
    network: Network, truth: Truth, its: NDArray[np.intp], owner: NDArray[np.intp], count: int
) -> F8:
    """Mean travel time over an approach's links, each over five minutes [periods, approaches]."""
    left = _over(_gather(truth.departed_veh[its], network.lane_link, network.links))
    total_s = _over(_gather(truth.travel_s[its], network.lane_link, network.links))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_s = total_s / left
    travel = np.zeros((len(its), count))
    for link in np.flatnonzero(owner >= 0).tolist():
        travel[:, owner[link]] += mean_s[:, link]
    return travel
