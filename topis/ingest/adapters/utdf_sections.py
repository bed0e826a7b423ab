"""Sections and records of Synchro's UTDF, as far as they tell signal plans."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from topis.errors import InputError
from topis.ingest.adapters.lines import whole_text
from topis.ingest.rows import Reject

#: Our own records, which other readers pass over.
PLAN, TIME = "TOPIS Plan", "TOPIS Time"
_TITLE = re.compile(r"\[([A-Za-z ]+)\]")
SECTIONS = {
    "network", "nodes", "links", "lanes", "timeplans", "timingplans", "phases", "phasing"
}  # fmt: skip
#: What is read of a section; else is not ours.
_RECORDS = {
    "timeplans": ("Cycle Length", "Offset", PLAN, TIME),
    "phases": ("BRP", "MaxGreen", "Yellow", "AllRed"),
}
_SAME = {"timingplans": "timeplans", "phasing": "phases"}


@dataclass
class Controller:
    """What the file says of one: by record, then by column (DATA, D1, D2, ...)."""

    line: int
    records: dict[str, dict[str, str]] = field(default_factory=dict)

    def told(self, record: str, column: str = "DATA") -> str:
        """Its text, "" where there is none."""
        return self.records.get(record, {}).get(column, "")


def title_of(cells: list[str]) -> str:
    """The section that begins with this line, in small letters; "" where none does."""
    found = _TITLE.fullmatch(cells[0].strip(' "\r')) if cells else None
    return found.group(1).replace(" ", "").lower() if found else ""


def controllers(path: Path, rejects: list[Reject]) -> dict[str, Controller]:
    """All controllers by INTID; lines that cannot be read go to ``rejects``.

    Raises
    ------
    InputError
        A section or one of its columns is not there.
    """
    found: dict[str, Controller] = {}
    section, header, seen = "", [""], set()
    reader = csv.reader(io.StringIO(whole_text(path), newline=""))
    try:
        lines = [(n, [cell.strip() for cell in cells]) for n, cells in enumerate(reader, 1)]
    except csv.Error as error:
        raise InputError.at(path, f"no UTDF ({error})", "is a quote left open?") from None
    for number, cells in lines:
        if title := title_of(cells):
            section, header = _SAME.get(title, title), []
        elif section not in _RECORDS or not any(cells):
            continue
        elif cells[0].upper() == "RECORDNAME":
            header = cells
            seen.add(section)
            needed = "DATA" if section == "timeplans" else "D1"
            if missing := {"INTID", needed} - set(header):
                raise InputError.at(path, f"[{section}] has no {min(missing)}", "export it again")
        elif header and cells[0] in _RECORDS[section]:
            values = dict(zip(header, cells, strict=False))
            intid, raw = values.get("INTID", ""), ",".join(cells)
            of = found.setdefault(intid, Controller(number)) if intid else None
            if any(cells[len(header) :]):
                detail = f"{len(cells)} instead of {len(header)}"
                rejects.append(Reject(number, "wrong number of columns", detail, raw))
            elif of is None:
                rejects.append(Reject(number, "controller is missing", "", raw))
            elif cells[0] in of.records:
                rejects.append(Reject(number, "record comes twice", f"{cells[0]} {intid}", raw))
            else:
                of.records[cells[0]] = values
                of.line = number if cells[0] == "MaxGreen" else of.line
    for name in _RECORDS:
        if name not in seen:
            raise InputError.at(path, f"no section [{name.title()}]", "export phases and timings")
    return found
