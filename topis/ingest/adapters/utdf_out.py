"""Signal plans as Synchro's UTDF, which `topis.ingest.adapters.utdf` reads again."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa

from topis.errors import InputError, OutputError
from topis.ingest.adapters.utdf_sections import PLAN, TIME

_LEAST_COLUMNS = 8


def write_utdf(
    path: Path,
    plans: pa.Table,
    controllers: dict[int, str],
    *,
    yellow_ms: int = 3000,
    all_red_ms: int = 1000,
) -> None:
    """Canonical plans as UTDF, one plan a controller: stage k is phase k + 1 of one ring.

    Stages do not tell their intergreen: ``yellow_ms`` and ``all_red_ms`` of each split are
    written as such, the rest as green (a split shorter than that has no green). The quality of
    rows is not written.

    Raises
    ------
    InputError
        A controller without a whole number for a name, with two plans, or with a stage missing.
    OutputError
        The file cannot be written.
    """
    stages: dict[int, list[dict[str, Any]]] = {}
    for row in plans.set_column(
        plans.column_names.index("time"), "time", plans["time"].cast(pa.int64())
    ).to_pylist():
        stages.setdefault(row["controller"], []).append(row)
    timings: list[list[str]] = []
    phases: list[list[str]] = []
    width = max([_LEAST_COLUMNS, *(len(rows) for rows in stages.values())])
    for key, rows in stages.items():
        intid = controllers.get(key, str(key))
        rows.sort(key=lambda row: row["stage"])
        _check(intid, rows)
        first = rows[0]
        timings += [
            ["Control Type", intid, "0"],
            ["Cycle Length", intid, _s(first["cycle_ms"])],
            ["Offset", intid, _s(first["offset_ms"])],
            [PLAN, intid, str(first["plan"])],
            [TIME, intid, str(first["time"])],
        ]
        columns = _columns(rows, yellow_ms, all_red_ms)
        phases += [
            [name, intid, *values, *[""] * (width - len(values))]
            for name, values in columns.items()
        ]
    numbers = [f"D{number}" for number in range(1, width + 1)]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        [
            ["[Timeplans]"],
            ["Timing Plan Settings"],
            ["RECORDNAME", "INTID", "DATA"],
            *timings,
            ["[Phases]"],
            ["Phasing Data"],
            ["RECORDNAME", "INTID", *numbers],
            *phases,
        ]
    )
    try:
        path.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); choose another file"
        ) from None


def _check(intid: str, rows: list[dict[str, Any]]) -> None:
    if not (intid.isascii() and intid.isdigit()):
        raise InputError.at(f"controller {intid!r}", "no INTID", "name it by a whole number")
    whole = [tuple(row[name] for name in ("plan", "time", "cycle_ms", "offset_ms")) for row in rows]
    if len(set(whole)) > 1:
        raise InputError.at(f"controller {intid}", "has two plans", "write one plan a file")
    if [row["stage"] for row in rows] != list(range(len(rows))):
        raise InputError.at(f"controller {intid}", "a stage is missing", "write whole plans")


def _columns(rows: list[dict[str, Any]], yellow_ms: int, all_red_ms: int) -> dict[str, list[str]]:
    """Records of [Phases]: a value a stage."""
    out: dict[str, list[str]] = {
        name: [] for name in ("BRP", "MaxGreen", "Yellow", "AllRed", "Start", "End")
    }
    cycle, begin = rows[0]["cycle_ms"], rows[0]["offset_ms"]
    for place, row in enumerate(rows):
        split = row["split_ms"]
        yellow = min(yellow_ms, split)
        all_red = min(all_red_ms, split - yellow)
        # One ring; a barrier every nine, as the place has one digit.
        out["BRP"].append(f"{1 + place // 9}1{1 + place % 9}")
        for name, value in (
            ("MaxGreen", split - yellow - all_red),
            ("Yellow", yellow),
            ("AllRed", all_red),
            ("Start", begin % cycle),
            ("End", (begin + split) % cycle),
        ):
            out[name].append(_s(value))
        begin += split
    return out


def _s(value_ms: int) -> str:
    """Seconds without a loss."""
    return f"{value_ms / 1000:.3f}".rstrip("0").rstrip(".")
