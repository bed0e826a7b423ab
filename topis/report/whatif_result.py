"""What a what-if found, and how sure that is: an interval, the model's own error, a verdict.

The interval of the difference has two parts: the spread between draws and over time (bootstrap,
Efron 1979, Ann. Stat. 7), and what the model is known to be out by, which no draw shows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topis.errors import InputError, OutputError

F8 = NDArray[np.float64]
#: Delay is summed in blocks of so long (s); they are what the bootstrap draws from.
BLOCK_S = 300
REPEATS = 2000
#: Time that is lost over the waits of the model, whose vehicles brake and pull away at once: as
#: SUMO has it on the scenarios it was tuned on (docs/whatif.md).
LOSS_OVER_WAIT = 1.1
#: The model's delays under plan A are scaled to the measured queues, by no more than this.
MOST_SCALE = 2.0
#: Delay of either plan is off by this share, one apart from the other (standard deviation).
PLAN_SD = 0.2
#: Of the model's error on plan A, so much stays in a difference that was scaled by it.
ERROR_KEPT = 0.5
#: An interval holds the truth in 95 of 100 cases: so many standard deviations to each side.
SIDES = 1.96
BETTER, WORSE, INCONCLUSIVE = "better", "worse", "inconclusive"


@dataclass(frozen=True)
class Drives:
    """Both plans with the same vehicles.

    float64[blocks, junctions + 1] in veh s; the first column is away from signals. ``delay_*`` is
    time waited, ``queue_*`` what the estimator makes of the sensors.
    """

    vehicles: int
    delay_a_veh_s: F8
    delay_b_veh_s: F8
    queue_a_veh_s: F8
    queue_b_veh_s: F8


@dataclass(frozen=True)
class JunctionChange:
    """Delay at a signal under both plans (veh h), and the interval of the difference."""

    junction: str
    delay_a_veh_h: float
    delay_b_veh_h: float
    low_veh_h: float
    high_veh_h: float


@dataclass(frozen=True)
class WhatIf:
    """Delay (s a vehicle) under what was shown (A) and the controller asked about (B).

    ``difference_s`` is B less A, with its 95 % interval. ``error_s``: what the model's queues
    under plan A are off by from the measured ones, as delay; ``error_share`` the same as a share.
    Arrays [blocks] of `BLOCK_S` are mean queues (veh) as the estimator has them: measured, and of
    the model with least and most over the draws.
    """

    controller: str
    settings: Mapping[str, float]
    begin_ms: int
    end_ms: int
    seeds: int
    vehicles: float
    delay_a_s: float
    delay_b_s: float
    difference_s: float
    low_s: float
    high_s: float
    error_s: float
    error_share: float
    demand_misfit: float
    counted_share: float
    verdict: str
    junctions: tuple[JunctionChange, ...]
    measured_a_veh: F8
    model_a_veh: F8
    model_b_veh: F8
    model_b_low_veh: F8
    model_b_high_veh: F8

    @property
    def difference_veh_h(self) -> float:
        """All delay of the slice, B less A."""
        return self.difference_s * self.vehicles / 3600.0


def judge(
    *,
    controller: str,
    settings: Mapping[str, float],
    begin_ms: int,
    junction_ids: Sequence[str],
    measured_queue_veh_s: F8,
    drives: Sequence[Drives],
    demand_misfit: float,
    counted_share: float,
) -> WhatIf:
    """What the drives say together. ``measured_queue_veh_s`` float64[blocks, junctions + 1]."""
    vehicles = float(np.mean([d.vehicles for d in drives]))
    a, b, queue_a, queue_b = (
        np.array([getattr(d, name) for d in drives])
        for name in ("delay_a_veh_s", "delay_b_veh_s", "queue_a_veh_s", "queue_b_veh_s")
    )
    measured = float(measured_queue_veh_s.sum())
    # Each draw is scaled so that its plan A has the queues that were measured.
    scale = (measured + 1.0) / (queue_a.sum(axis=(1, 2)) + 1.0)
    scale = LOSS_OVER_WAIT * np.clip(scale, 1.0 / MOST_SCALE, MOST_SCALE)[:, None, None]
    a, b = scale * a, scale * b
    per_vehicle = 1.0 / max(vehicles, 1.0)
    delay_a_s = per_vehicle * float(a.sum(axis=(1, 2)).mean())
    delay_b_s = per_vehicle * float(b.sum(axis=(1, 2)).mean())
    difference_s = delay_b_s - delay_a_s
    modelled = float(queue_a.sum(axis=(1, 2)).mean())
    error_share = abs(modelled - measured) / max(measured, 1.0)
    error_s = error_share * delay_a_s
    spread = _bootstrap(per_vehicle * (b - a).sum(axis=2))
    unseen_s = SIDES * _unseen_sd(delay_a_s, delay_b_s, error_share)
    low_s = difference_s - math.hypot(difference_s - spread[0], unseen_s)
    high_s = difference_s + math.hypot(spread[1] - difference_s, unseen_s)
    sure = abs(difference_s) >= error_s and not low_s <= 0.0 <= high_s
    verdict = INCONCLUSIVE if not sure else BETTER if difference_s < 0.0 else WORSE
    blocks = measured_queue_veh_s.shape[0]
    queue_of_b = queue_b.sum(axis=2) / BLOCK_S
    return WhatIf(
        controller=controller,
        settings=settings,
        begin_ms=begin_ms,
        end_ms=begin_ms + 1000 * BLOCK_S * blocks,
        seeds=len(drives),
        vehicles=vehicles,
        delay_a_s=delay_a_s,
        delay_b_s=delay_b_s,
        difference_s=difference_s,
        low_s=low_s,
        high_s=high_s,
        error_s=error_s,
        error_share=error_share,
        demand_misfit=demand_misfit,
        counted_share=counted_share,
        verdict=verdict,
        junctions=_junctions(junction_ids, a, b, error_share),
        measured_a_veh=measured_queue_veh_s.sum(axis=1) / BLOCK_S,
        model_a_veh=queue_a.sum(axis=2).mean(axis=0) / BLOCK_S,
        model_b_veh=queue_of_b.mean(axis=0),
        model_b_low_veh=queue_of_b.min(axis=0),
        model_b_high_veh=queue_of_b.max(axis=0),
    )


def _bootstrap(values: F8) -> tuple[float, float]:
    """95 % interval of the sum over blocks of the mean over draws; ``values`` [draws, blocks]."""
    rng = np.random.default_rng(0xB007)
    draws, blocks = values.shape
    which = rng.integers(draws, size=(REPEATS, draws))
    when = rng.integers(blocks, size=(REPEATS, blocks))
    # A block counts as often as it is drawn.
    weight = np.stack([np.bincount(row, minlength=blocks) for row in when])
    means = np.stack([values[row].mean(axis=0) for row in which])
    low, high = np.percentile((means * weight).sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _unseen_sd(delay_a: float, delay_b: float, error_share: float) -> float:
    """What no draw shows of a difference: either plan's own error, and what the fit left."""
    return math.hypot(
        PLAN_SD * math.hypot(delay_a, delay_b), ERROR_KEPT * error_share * (delay_b - delay_a)
    )


def _junctions(
    junction_ids: Sequence[str], a: F8, b: F8, error_share: float
) -> tuple[JunctionChange, ...]:
    found = []
    for number, name in enumerate(junction_ids):
        of_a, of_b = (values[:, :, number + 1] / 3600.0 for values in (a, b))
        delay_a, delay_b = (float(values.sum(axis=1).mean()) for values in (of_a, of_b))
        change = delay_b - delay_a
        low, high = _bootstrap(of_b - of_a)
        unseen = SIDES * _unseen_sd(delay_a, delay_b, error_share)
        found.append(
            JunctionChange(
                name,
                delay_a,
                delay_b,
                change - math.hypot(change - low, unseen),
                change + math.hypot(high - change, unseen),
            )
        )
    return tuple(found)


def write_whatif(path: Path, result: WhatIf) -> None:
    """Store as JSON.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    content: dict[str, Any] = {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in vars(result).items()
    }
    content["junctions"] = [vars(change) for change in result.junctions]
    content["difference_veh_h"] = result.difference_veh_h
    try:
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from None


def read_whatif(path: Path) -> WhatIf:
    """What `write_whatif` stored.

    Raises
    ------
    InputError
        It is not there, or no such file.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        del stored["difference_veh_h"]
        stored["junctions"] = tuple(JunctionChange(**change) for change in stored["junctions"])
        arrays = {name: np.array(v) for name, v in stored.items() if isinstance(v, list)}
        return WhatIf(**{**stored, **arrays})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError.at(path, f"is no what-if ({error})", "name a whole run folder") from None
