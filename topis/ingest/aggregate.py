"""The archive's rows to observations: sums per place and period (30 s as a rule)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from topis._core.run_sums import RunSums
from topis.units import STANDING_MPS

Number = TypeVar("Number", np.uint8, np.uint16, np.uint32, np.uint64, np.int32, np.int64)

PERIOD_MS = 30_000
STANDING_CMPS = round(100 * STANDING_MPS)
_NO_SPEED = 65535


@dataclass(frozen=True)
class PeriodSums:
    """int64[places, periods] each; places are keys of a dimension table, 0 is none."""

    begin_ms: int
    period_ms: int
    count: NDArray[np.int64]
    things: NDArray[np.int64]
    measured: NDArray[np.int64]
    speed_sum: NDArray[np.int64]
    standing: NDArray[np.int64]

    @property
    def speed_mps(self) -> NDArray[np.float64]:
        """Mean speed; NaN where none was measured."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.speed_sum / (100.0 * self.measured))


class Aggregator:
    """Sums of record batches in the archive's order; how they are cut does not matter.

    ``place``, ``thing``: names of the columns that tell where and who. A missing place is 0,
    and rows of place 0 are summed there.
    """

    def __init__(
        self,
        place: str,
        thing: str,
        *,
        places: int,
        begin_ms: int,
        periods: int,
        period_ms: int = PERIOD_MS,
    ) -> None:
        self._place, self._thing = place, thing
        sums = np.zeros((places, periods, 5), dtype=np.int64)
        self.sums = PeriodSums(begin_ms, period_ms, *np.moveaxis(sums, 2, 0))
        self._kernel = RunSums(
            sums=sums,
            begin_ms=begin_ms,
            period_ms=period_ms,
            standing_below=STANDING_CMPS,
        )

    @property
    def columns(self) -> list[str]:
        """What to read of the feed."""
        return list(dict.fromkeys([self._place, self._thing, "time", "speed_cmps"]))

    @property
    def outside(self) -> int:
        """Rows of other times or unknown places."""
        return self._kernel.outside

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take in batches with (at least) the columns above."""
        for batch in batches:
            place = column_values(batch[self._place], np.uint32, 0)
            thing: NDArray[np.uint32] | NDArray[np.uint64]
            if batch.schema.field(self._thing).type == pa.uint64():
                thing = column_values(batch[self._thing], np.uint64, 0)
            else:
                thing = column_values(batch[self._thing], np.uint32, 0)
            time_ms = column_values(batch["time"], np.int64, 0)
            speed = column_values(batch["speed_cmps"], np.uint16, _NO_SPEED)
            self._kernel.add(place, thing, time_ms, speed)


def column_values(column: pa.Array, kind: type[Number], missing: int) -> NDArray[Number]:
    """A column's own memory where it is whole, else a copy with its gaps filled."""
    if column.null_count:
        column = pc.fill_null(column, missing)
    width = np.dtype(kind).itemsize
    wide = column.type.bit_width // 8
    if wide == width:
        data = column.buffers()[1]
        return np.frombuffer(data, dtype=kind, count=len(column), offset=column.offset * width)
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False).astype(kind))
