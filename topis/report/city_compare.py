"""Two runs of a city held against each other: whole, district by district, signal by signal.

Journey time is told per kilometre, so that districts of other sizes compare: free driving plus time
lost on the district's roads, over the way driven there; who has come onto a road counts as having
driven it. A signal got worse if who passes it loses more time on its approaches than before; of two
runs that differ by chance alone some signals are worse too, and as many better (docs/city.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from topis.errors import InputError
from topis.model.network import Network
from topis.report.journal import JournalReader

F8 = NDArray[np.float64]
#: A signal is called worse, or better, from this change of delay a vehicle on: of the base's, and
#: at least so many seconds.
CHANGE_SHARE, CHANGE_S = 0.05, 1.0
#: Signals that fewer passed tell nothing.
LEAST_VEH = 50.0
CITY = "city"


@dataclass(frozen=True)
class CityRun:
    """Sums of one run: by link [links], and of its vehicles."""

    title: str
    network: Network
    lost_s: F8
    passed_veh: F8
    network_time_s: float
    delay_s: float
    arrived_veh: int
    unfinished_veh: int
    outside_veh: int
    teleports: int

    @classmethod
    def read(cls, folder: Path, from_s: float = 0.0) -> CityRun:
        """Of a run folder of `topis simulate`; what links say from ``from_s`` on alone.

        Raises
        ------
        InputError
            It is none.
        """
        journal = JournalReader(folder)
        network = journal.network
        try:
            rows = pd.read_parquet(folder / "links.parquet")
            vehicles = pd.read_parquet(folder / "vehicles.parquet")
            counts = json.loads((folder / "counts.json").read_text())
        except (OSError, ValueError) as error:
            raise InputError.at(
                folder, f"not a run of topis simulate ({error})", "name one"
            ) from None
        rows = rows[rows["interval_begin_s"] >= from_s]
        link = pd.Series(np.arange(network.links), index=list(network.link_ids))[rows["link"]]
        status = vehicles["status"]

        def total(column: str) -> F8:
            return np.bincount(link, rows[column], minlength=network.links).astype(np.float64)

        return cls(
            title=f"{journal.manifest['controller']}, seed {journal.manifest['seed']}",
            network=network,
            lost_s=total("time_loss_s"),
            passed_veh=total("vehicles"),
            network_time_s=float(vehicles["network_time_s"].mean()),
            delay_s=float((vehicles["time_loss_s"] + vehicles["depart_delay_s"]).mean()),
            arrived_veh=int((status == "arrived").sum()),
            unfinished_veh=int((status == "running").sum()),
            outside_veh=int((~status.isin(["arrived", "running"])).sum()),
            teleports=int(counts["teleports"]),
        )

    def pace(self, where: NDArray[np.bool_]) -> float:
        """Journey time on some links, s/km."""
        network = self.network
        way_m = network.link_length_m.astype(np.float64)
        free_s = way_m / np.maximum(network.link_speed_mps, 0.1)
        driven_km = float((self.passed_veh * way_m)[where].sum()) / 1000.0
        spent_s = float((self.passed_veh * free_s + self.lost_s)[where].sum())
        return spent_s / max(driven_km, 1e-9)

    def signal_delay(self) -> tuple[F8, F8]:
        """(delay a vehicle on the approaches of each signal, vehicles), float64[junctions]."""
        network = self.network
        leads = np.flatnonzero(network.link_junction >= 0)
        junction = network.link_junction[leads]
        count = network.junctions
        lost_s = np.bincount(junction, self.lost_s[leads], minlength=count)
        passed = np.bincount(junction, self.passed_veh[leads], minlength=count)
        return lost_s / np.maximum(passed, 1e-9), passed.astype(np.float64)


def compare_city(base: CityRun, other: CityRun, district: NDArray[np.integer]) -> pd.DataFrame:
    """A row a district, and the whole city first.

    ``district`` int[links], 0 for none. Columns: ``district``, ``signals``, ``base_s_per_km`` and
    ``other_s_per_km``, ``change_pct``, ``signal_delay_base_s`` and ``signal_delay_other_s`` a
    vehicle and signal, ``better_share`` and ``worse_share`` of the signals.

    Raises
    ------
    InputError
        The runs are of different networks.
    """
    network = base.network
    if other.network.hash != network.hash:
        raise InputError(f"{other.title} and {base.title} are runs of different networks")
    before_s, came = base.signal_delay()
    after_s, also = other.signal_delay()
    told = (came >= LEAST_VEH) & (also >= LEAST_VEH)
    least_s = np.maximum(CHANGE_SHARE * before_s, CHANGE_S)
    worse, better = after_s > before_s + least_s, after_s < before_s - least_s
    leads = np.flatnonzero(network.link_junction >= 0)
    of_signal = np.zeros(network.junctions, dtype=np.int64)
    of_signal[network.link_junction[leads]] = district[leads]
    rows = []
    for number in [0, *np.unique(district[district > 0]).tolist()]:
        links = np.ones(network.links, bool) if number == 0 else district == number
        signals = np.ones(network.junctions, bool) if number == 0 else of_signal == number
        mine = signals & told
        paces = base.pace(links), other.pace(links)
        weight = (came * signals).sum(), (also * signals).sum()
        rows.append(
            {
                "district": CITY if number == 0 else str(number),
                "signals": int(signals.sum()),
                "base_s_per_km": paces[0],
                "other_s_per_km": paces[1],
                "change_pct": 100.0 * (paces[1] / max(paces[0], 1e-9) - 1.0),
                "signal_delay_base_s": float((before_s * came * signals).sum() / max(weight[0], 1)),
                "signal_delay_other_s": float((after_s * also * signals).sum() / max(weight[1], 1)),
                "better_share": float(better[mine].mean()) if mine.any() else np.nan,
                "worse_share": float(worse[mine].mean()) if mine.any() else np.nan,
            }
        )
    return pd.DataFrame(rows)


def totals(base: CityRun, other: CityRun) -> pd.DataFrame:
    """Whole-run figures of both, a row each."""
    names = {
        "network_time_s": "network time (s/veh)",
        "delay_s": "delay (s/veh)",
        "arrived_veh": "arrived (veh)",
        "unfinished_veh": "still driving (veh)",
        "outside_veh": "never let in (veh)",
        "teleports": "teleports",
    }
    rows = []
    for name, text in names.items():
        a, b = float(getattr(base, name)), float(getattr(other, name))
        change = 100.0 * (b / a - 1.0) if a else np.nan
        rows.append({"": text, base.title: a, other.title: b, "change_pct": change})
    return pd.DataFrame(rows)


def format_city(whole: pd.DataFrame, districts: pd.DataFrame) -> str:
    """Both tables for a terminal."""
    names = {
        "base_s_per_km": "base s/km",
        "other_s_per_km": "other s/km",
        "change_pct": "change %",
        "signal_delay_base_s": "base s/signal",
        "signal_delay_other_s": "other s/signal",
        "better_share": "better",
        "worse_share": "worse",
    }
    shown = districts.rename(columns=names)
    first = whole.rename(columns={"change_pct": "change %"}).to_string(
        index=False, float_format=lambda v: f"{v:,.1f}", na_rep="-"
    )
    second = shown.to_string(
        index=False,
        formatters={k: lambda v: f"{100 * v:.0f} %" for k in ("better", "worse")},
        float_format=lambda v: f"{v:.1f}",
    )
    return f"{first}\n\n{second}"
