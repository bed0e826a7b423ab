"""Seoul's monthly tables of speeds and volumes: a row a day, a column an hour.

Excel workbooks as TOPIS publishes them (2026년 3월 서울시 차량통행속도.xlsx, 03월 서울시
교통량 조사자료(2026).xlsx), or the same tables as CSV in UTF-8 or CP949. Speeds stand under the
hour's end (~01시 is 0 to 1 h), volumes under its begin.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from topis.errors import InputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.sheets import SheetRows, is_workbook, sheets
from topis.ingest.adapters.texts import Record, batches
from topis.ingest.rows import Parsed, Reject

_TIME = 'time = { column = "_hour", format = "%Y%m%d%H", timezone = "Asia/Seoul" }'
_HOURS = 24
#: A title may stand above the header, but not a page of text.
_HEADER_WITHIN = 10
_DATE = re.compile(r"(\d{4})[-./](\d{2})[-./](\d{2})( 00:00:00)?")


@dataclass(frozen=True)
class _Layout:
    """One of the two tables: what tells whose row it is, and the hours' labels in order."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    mapping: str

    def misfit(self, header: list[str]) -> str | None:
        """The first column that is missing; None where the header is another table's."""
        if self.ids[0] not in header or not set(self.labels) & set(header):
            return None
        return next((n for n in ("일자", *self.ids, *self.labels) if n not in header), "")

    def records(
        self, sheet: str, header: list[str], rows: SheetRows, padded: bool
    ) -> Iterator[Record | Reject]:
        """One an hour; ``padded``: cells left out at a row's end are empty."""
        place = {name: i for i, name in enumerate(header)}
        hours = [(hour, label, place[label]) for hour, label in enumerate(self.labels)]
        for number, cells in rows:
            if not any(cells):
                continue
            if any(cells[len(header) :]) or not (padded or len(cells) >= len(header)):
                detail = f"{len(cells)} instead of {len(header)}"
                yield Reject(number, "wrong number of columns", detail, ",".join(cells))
                continue
            cells += [""] * (len(header) - len(cells))
            whose = [cells[place[name]] for name in self.ids]
            day = _DATE.sub(r"\1\2\3", cells[place["일자"]])
            named = dict(zip(self.ids, whose, strict=True))
            name = ":".join(whose) if all(whose) else ""
            for hour, label, column in hours:
                values = {"_id": name, "_hour": f"{day}{hour:02d}", "_value": cells[column]}
                raw = {"sheet": sheet, "일자": day, **named, label: cells[column]}
                yield Record(number, values if day else {**values, "_hour": ""}, raw)


_LAYOUTS = (
    _Layout(
        ("링크아이디",),
        tuple(f"~{hour + 1:02d}시" for hour in range(_HOURS)),
        f"""
        feed = "link_speed"
        [columns]
        link = "_id"
        {_TIME}
        period_s = {{ value = 3600 }}
        speed_cmps = {{ column = "_value", unit = "km/h" }}
        """,
    ),
    _Layout(
        ("지점번호", "구분"),
        tuple(f"{hour}시" for hour in range(_HOURS)),
        f"""
        feed = "count"
        [columns]
        site = "_id"
        lane = {{ value = 0 }}
        vehicle_class = {{ value = 0 }}
        {_TIME}
        period_s = {{ value = 3600 }}
        vehicles = "_value"
        """,
    ),
)


class SeoulSpreadsheet:
    """Both tables, from workbooks or CSV."""

    name = "spreadsheet"
    text = "Seoul's monthly speeds and volumes (.xlsx, .csv)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if is_workbook(path):
            return True
        if path.suffix.lower() != ".csv" or not path.is_file():
            return False
        with path.open("rb") as file:
            line = file.readline(4000)
        headers = [_plain(line.decode(c, "replace").split(",")) for c in ("utf-8-sig", "cp949")]
        return any(lay.misfit(h) is not None for lay in _LAYOUTS for h in headers)

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        found = False
        workbook = is_workbook(path)
        for sheet, rows in sheets(path):
            for number, cells in rows:
                header = _plain(cells)
                fits = [(lay, lay.misfit(header)) for lay in _LAYOUTS]
                layout, missing = next((f for f in fits if f[1] is not None), (None, None))
                if layout is not None or number >= _HEADER_WITHIN:
                    break
            else:
                continue
            if layout is None:
                continue
            if missing:
                raise InputError.at(path, f"no column {missing!r}", "hand over the whole table")
            found = True
            mapping = Mapping.parse(layout.mapping, path)
            records = layout.records(sheet, header, rows, padded=workbook)
            yield from batches(mapping, path, records)
        if not found:
            names = " or ".join(
                f"일자, {', '.join(lay.ids)}, {lay.labels[0]} to {lay.labels[-1]}"
                for lay in _LAYOUTS
            )
            raise InputError.at(path, "no table of speeds or volumes by hour", f"columns: {names}")


def _plain(header: list[str]) -> list[str]:
    return [re.sub(r'[\s"]+', "", name) for name in header]
