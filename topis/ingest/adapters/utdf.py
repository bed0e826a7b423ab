"""Synchro's UTDF, in and out: signal plans as sections of a CSV file.

A phase is a stage, numbered in the order of barrier, place in its ring, ring; its split is
MaxGreen + Yellow + AllRed. Phases of two rings run at once: their splits add up to more than the
cycle. UTDF tells neither the plan's number nor since when it holds: they are those of our own
records ``TOPIS Plan`` and ``TOPIS Time`` (ms UTC), else 1 and the day in which the file's name
ends.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.texts import NUMBER, Record, as_json, batches, named_day_ms
from topis.ingest.adapters.utdf_sections import (
    PLAN,
    SECTIONS,
    TIME,
    Controller,
    controllers,
    title_of,
)
from topis.ingest.rows import Parsed, Reject

_MAPPING = """
    feed = "plan"
    [columns]
    controller = "controller"
    plan = "plan"
    stage = "stage"
    time = { column = "time", unit = "unix ms" }
    cycle_ms = { column = "cycle", unit = "s" }
    offset_ms = { column = "offset", unit = "s" }
    split_ms = { column = "split", unit = "s" }
    """
_SPLIT = ("MaxGreen", "Yellow", "AllRed")


class SynchroUtdf:
    """The sections Timeplans and Phases of a combined file."""

    name = "utdf"
    text = "Synchro UTDF signal plans (.csv)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(1000).decode("utf-8-sig", "replace")
        return title_of(head.strip().split("\n")[0].split(",")) in SECTIONS

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        rejects: list[Reject] = []
        stages = _stages(path, controllers(path, rejects))
        mapping = Mapping.parse(_MAPPING, path)
        yield from batches(mapping, path, itertools.chain(rejects, stages))


def _stages(path: Path, found: dict[str, Controller]) -> Iterator[Record | Reject]:
    """The phases of all controllers but those that are blank or nought throughout."""
    for intid, of in found.items():
        used = {
            column: _place(of, column)
            for column in of.records.get("MaxGreen", of.records.get("BRP", {}))
            if re.fullmatch(r"D\d+", column)
            and any(of.told(name, column).strip("0.") for name in _SPLIT)
        }
        if not used:
            yield Reject(of.line, "controller without phases", intid, as_json(of.records))
            continue
        time = of.told(TIME) or str(named_day_ms(path))
        stages = sorted(used, key=lambda column: (used[column] or (), int(column[1:])))
        for stage, column in enumerate(stages):
            raw = {"INTID": intid, "phase": column, "BRP": of.told("BRP", column)}
            raw |= {name: of.told(name, column) for name in _SPLIT}
            if used[column] is None:
                yield Reject(of.line, "BRP cannot be read", raw["BRP"], as_json(raw))
            elif not NUMBER.fullmatch(time):
                yield Reject(of.line, "time cannot be read", time, as_json(raw))
            else:
                values = {
                    "controller": intid,
                    "plan": of.told(PLAN) or "1",
                    "stage": str(stage),
                    "time": time,
                    "cycle": of.told("Cycle Length"),
                    "offset": of.told("Offset"),
                    "split": _sum([raw[name] for name in _SPLIT]),
                }
                yield Record(of.line, values, raw)


def _place(of: Controller, column: str) -> tuple[int, ...] | None:
    """Barrier, place in the ring, ring; () where the file has no BRP, None where it is none."""
    if "BRP" not in of.records:
        return ()
    brp = of.told("BRP", column)
    if not (brp.isascii() and brp.isdigit() and len(brp) >= 3):
        return None
    return int(brp[:-2]), int(brp[-1]), int(brp[-2])


def _sum(parts: list[str]) -> str:
    """Of numbers; a part that is blank or no number is left as it is, for the check to refuse."""
    wrong = [part for part in parts if not NUMBER.fullmatch(part)]
    return wrong[0] if wrong else str(sum(float(part) for part in parts))
