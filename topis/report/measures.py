"""What one run was like: delay, queues, stops and throughput, from its run folder.

Every demanded vehicle counts. A vehicle that is still under way at the end counts with what it
has lost so far, and one that never got onto the network counts with the time it has waited to
enter; a controller cannot look better by keeping vehicles out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet

from topis.errors import InputError, OutputError

FloatArray = npt.NDArray[np.float64]

#: The mean of an approach that fewer vehicles used says little.
FEWEST_VEH = 10
_DAY_S = 86_400
STATUSES = ("arrived", "running", "waiting")


@dataclass(frozen=True)
class JunctionDelay:
    """Time lost on the approaches of one signalised junction, over the whole run."""

    junction: str
    x_m: float
    y_m: float
    delay_veh_h: float
    vehicles: float

    @property
    def delay_s(self) -> float:
        """Seconds lost per vehicle that entered an approach; NaN when none did."""
        return self.delay_veh_h * 3600 / self.vehicles if self.vehicles > 0 else math.nan


@dataclass(frozen=True)
class Measures:
    """The numbers of one run.

    `delay_*` is time lost while driving plus time waited to enter, over all demanded vehicles.
    `network_time_s` (intended departure to arrival or the end) is over all demanded vehicles too,
    `stops` over those that entered. `waiting_max_s` is the
    longest standing time of one vehicle (for one that never entered: its wait to enter).
    `co2_kg` is None when the run did not record emissions. `queue_begin_s` and `queue_veh`, both
    (intervals,), give the mean number of standing vehicles; `delays_s`, (demanded,), ascending,
    the delay of every vehicle. Means without any vehicle are NaN.
    """

    controller: str
    seed: int
    sensing: str
    scenario: str
    begin_s: float
    end_s: float
    step_s: float
    network_hash: str
    version: str
    interrupted: bool
    research_only: bool
    meso: bool
    outages: bool
    demanded: int
    arrived: int
    running: int
    never_inserted: int
    delay_s: float
    delay_p95_s: float
    delay_by_class_s: Mapping[str, float]
    network_time_s: float
    waiting_max_s: float
    worst_approach_s: float
    stops: float
    co2_kg: float | None
    throughput_vph: float
    teleports: int
    collisions: int
    emergency_stops: int
    refusals: Mapping[str, int]
    junctions: tuple[JunctionDelay, ...]
    choices: tuple[str, ...]
    queue_begin_s: FloatArray = field(repr=False, compare=False)
    queue_veh: FloatArray = field(repr=False, compare=False)
    delays_s: FloatArray = field(repr=False, compare=False)


def measure_run(folder: str | os.PathLike[str]) -> Measures:
    """Read a run folder and work out its measures.

    Raises InputError when a file, a column or a manifest entry is missing or impossible.
    """
    path = Path(folder)
    manifest = read_json(path / "manifest.json")
    counts = read_json(path / "counts.json")
    vehicles = read_columns(
        path / "vehicles.parquet",
        ("depart_delay_s", "time_loss_s", "network_time_s", "waiting_s", "stops"),
        ("status", "vclass"),
    )
    links = read_columns(
        path / "links.parquet",
        ("interval_begin_s", "interval_s", "junction", "time_loss_s", "waiting_s", "vehicles"),
        ("link",),
        optional=("co2_g",),
    )
    status = vehicles["status"]
    unknown = sorted(set(status.tolist()) - set(STATUSES))
    if unknown:
        raise InputError(f"{path / 'vehicles.parquet'}: status {unknown[0]!r} is not of {STATUSES}")
    entered = status != "waiting"
    _check_finite(path / "vehicles.parquet", vehicles, entered)
    lost_s = np.where(entered, vehicles["time_loss_s"], 0.0)
    delays_s = lost_s + vehicles["depart_delay_s"]
    standing_s = np.where(entered, vehicles["waiting_s"], vehicles["depart_delay_s"])
    queue_begin_s, queue_veh = _queue(links)
    try:
        duration_s = float(manifest["end_s"]) - float(manifest["begin_s"])
        arrived = int(np.count_nonzero(status == "arrived"))
        return Measures(
            controller=str(manifest["controller"]),
            seed=int(manifest["seed"]),
            sensing=str(manifest["sensing"]),
            scenario=str(manifest["scenario"]),
            begin_s=float(manifest["begin_s"]),
            end_s=float(manifest["end_s"]),
            step_s=float(manifest["step_s"]),
            network_hash=str(manifest["network_hash"]),
            version=str(manifest["version"]),
            interrupted=manifest["ended"] != "complete",
            research_only=bool(manifest["research_only"]),
            meso=bool(manifest.get("meso", False)),
            outages=bool(manifest.get("outages")),
            demanded=len(delays_s),
            arrived=arrived,
            running=int(np.count_nonzero(status == "running")),
            never_inserted=int(np.count_nonzero(status == "waiting")),
            delay_s=_mean(delays_s),
            delay_p95_s=float(np.percentile(delays_s, 95)) if len(delays_s) else math.nan,
            delay_by_class_s=_mean_by(vehicles["vclass"], delays_s),
            network_time_s=_mean(vehicles["network_time_s"]),
            waiting_max_s=float(np.max(standing_s, initial=0.0)),
            worst_approach_s=_worst_approach(links),
            stops=_mean(vehicles["stops"][entered]),
            co2_kg=_total_co2_kg(links),
            throughput_vph=arrived * 3600 / duration_s if duration_s > 0 else math.nan,
            teleports=int(counts["teleports"]),
            collisions=int(counts["collisions"]),
            emergency_stops=int(counts["emergency_stops"]),
            refusals={str(key): int(value) for key, value in counts["refusals"].items()},
            junctions=_junctions(manifest, links),
            choices=_choices(path / "notes.json"),
            queue_begin_s=queue_begin_s,
            queue_veh=queue_veh,
            delays_s=np.sort(delays_s),
        )
    except KeyError as error:
        raise InputError(f"{path}: manifest.json or counts.json lacks {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises InputError when there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is this a run folder?") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no JSON object")
    return content


def read_columns(
    path: Path,
    numbers: Iterable[str],
    texts: Iterable[str] = (),
    optional: Iterable[str] = (),
) -> dict[str, npt.NDArray[Any]]:
    """Read columns of a parquet file: numbers as float64 (rows,), null as NaN, texts as str.

    `optional` names number columns that are left out when absent. Raises InputError for a file
    or a column that is missing or of the wrong kind.
    """
    wanted = [*numbers, *texts]
    try:
        present = set(pyarrow.parquet.read_schema(path).names)
        missing = [name for name in wanted if name not in present]
        if missing:
            raise InputError(f"{path}: lacks the column {missing[0]!r}; rerun to write it again")
        wanted += [name for name in optional if name in present]
        table = pyarrow.parquet.read_table(path, columns=wanted)
        columns: dict[str, npt.NDArray[Any]] = {}
        for name in wanted:
            values = table.column(name).to_pylist() if name in texts else None
            if values is not None:
                columns[name] = np.array(["" if v is None else str(v) for v in values], dtype=str)
            else:
                column = table.column(name).to_numpy()
                columns[name] = np.asarray(column, dtype=np.float64)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; is this a run folder?") from None
    except (OSError, ValueError, TypeError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as parquet: {error}") from None
    return columns


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in one piece: readers see the old or the new one, never half.

    Raises OutputError when the file cannot be written.
    """
    dest = Path(path)
    draft = dest.with_name(f".{dest.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        os.replace(draft, dest)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise OutputError(f"{dest}: cannot be written: {error}") from None


def _check_finite(
    path: Path, vehicles: Mapping[str, npt.NDArray[Any]], entered: npt.NDArray[np.bool_]
) -> None:
    """Refuse gaps where a vehicle must have a value, rather than let a mean ignore them."""
    for name in ("depart_delay_s", "time_loss_s", "network_time_s", "waiting_s", "stops"):
        bad = ~np.isfinite(vehicles[name])
        if name != "depart_delay_s":
            bad &= entered
        if bad.any():
            raise InputError(f"{path}: row {int(np.argmax(bad))} has no {name}")


def _mean(values: FloatArray) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _mean_by(names: npt.NDArray[Any], values: FloatArray) -> dict[str, float]:
    return {str(name): _mean(values[names == name]) for name in np.unique(names)}


def _total_co2_kg(links: Mapping[str, FloatArray]) -> float | None:
    co2_g = links.get("co2_g")
    if co2_g is None or not np.isfinite(co2_g).any():
        return None
    return float(np.nansum(co2_g)) / 1000


def _queue(links: Mapping[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Mean standing vehicles in each interval, over all links."""
    begins_s, where = np.unique(links["interval_begin_s"], return_inverse=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = links["waiting_s"] / links["interval_s"]
    standing = np.nan_to_num(mean, nan=0.0, posinf=0.0)
    queue_veh = np.bincount(where, weights=standing, minlength=len(begins_s))
    return begins_s, queue_veh.astype(np.float64)


def _worst_approach(links: Mapping[str, npt.NDArray[Any]]) -> float:
    """Largest mean time lost (s/veh) on any last link before a signal; NaN if too few used each.

    A queue that reaches back over a short link loses time on the links before as well.
    """
    inside = links["junction"] >= 0
    names, where = np.unique(links["link"][inside], return_inverse=True)
    lost_s = np.bincount(where, links["time_loss_s"][inside], minlength=len(names))
    vehicles = np.bincount(where, links["vehicles"][inside], minlength=len(names))
    used = vehicles >= FEWEST_VEH
    return float(np.max(lost_s[used] / vehicles[used])) if used.any() else math.nan


def _choices(path: Path) -> tuple[str, ...]:
    """What the controller noted of its choices of policy, with the time of day."""
    if not path.exists():
        return ()
    noted = read_json(path).get("notes", [])
    try:
        return tuple(f"{format_clock(float(n['time_s']))} {n['text']}" for n in noted)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not notes as a run writes them; rerun to write them") from None


def format_clock(time_s: float) -> str:
    """Simulated time as hours, minutes, seconds of a day."""
    whole = int(time_s % _DAY_S)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _junctions(
    manifest: Mapping[str, Any], links: Mapping[str, FloatArray]
) -> tuple[JunctionDelay, ...]:
    described = manifest["junctions"]
    index = links["junction"].astype(np.int64)
    if len(index) and index.max() >= len(described):
        raise InputError(f"links.parquet: junction {index.max()} is not in the manifest")
    inside = index >= 0
    lost_s = np.bincount(index[inside], links["time_loss_s"][inside], minlength=len(described))
    vehicles = np.bincount(index[inside], links["vehicles"][inside], minlength=len(described))
    return tuple(
        JunctionDelay(
            junction=str(item["id"]),
            x_m=float(item["x_m"]),
            y_m=float(item["y_m"]),
            delay_veh_h=float(lost_s[number]) / 3600,
            vehicles=float(vehicles[number]),
        )
        for number, item in enumerate(described)
    )
