"""Seoul's monthly tables, as workbooks and as CSV, and ones that are broken."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest

from tests.adapter_cases import MIDNIGHT, Cells, refused, take
from tests.test_ingest import stored
from topis.errors import InputError
from topis.ingest.adapters.spreadsheet import SeoulSpreadsheet
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import ingest
from topis.ingest.rows import Parsed

SPEED_HEADER = [
    "일자", "요일", "도로명", "링크아이디", "시점명", "종점명", "방향", "거리", "차선수",
    "기능유형구분", "도심/외곽구분", "권역구분", *(f"~{h:02d}시" for h in range(1, 25)),
]  # fmt: skip
VOLUME_HEADER = [
    "일자", "요일", "지점명", "지점번호", "방향", "구분", *(f"{h}시" for h in range(24))
]  # fmt: skip


def speeds(day: object = 20261117, link: object = 1220003800, **cells: object) -> list[Any]:
    """A row; ``h8=...`` is what stands under ~08시."""
    ids = [
        day,
        "화",
        "세종대로",
        link,
        "서울역",
        "시청",
        "상행",
        812,
        4,
        "주간선",
        "도심",
        "도심권",
    ]
    return [*ids, *(cells.get(f"h{h}", 20 + h / 10) for h in range(1, 25))]


def volumes(day: object = 20261117, spot: object = "A-01", **cells: object) -> list[Any]:
    ids = [day, "화", "성산로", spot, "유입", "금화터널->독립문"]
    return [*ids, *(cells.get(f"h{h}", 100 + h) for h in range(24))]


def workbook(tables: dict[str, Cells]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in tables.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def as_csv(rows: Cells) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


def test_speeds_are_of_the_hour_that_ends_at_the_label(tmp_path: Path) -> None:
    rows = [SPEED_HEADER, speeds(h1=36, h24=None), [None] * 3, speeds(link="1220003801", h8=18.0)]
    content = workbook({"11월": rows, "설명": [["설명"]]})
    archive, report = take(tmp_path, "2026년 11월 서울시 차량통행속도.xlsx", content)
    assert (report.rows, report.quarantined) == (48, 0)
    table = stored(archive, "link_speed")
    assert set(table["period_s"].to_pylist()) == {3600}
    names = Dimensions(archive).names("links")
    by_key = {(names[r["link"]], r["time"].isoformat()): r for r in table.to_pylist()}
    assert by_key["1220003800", MIDNIGHT]["speed_cmps"] == 1000
    assert by_key["1220003800", "2026-11-17T14:00:00+00:00"]["speed_cmps"] is None
    assert by_key["1220003801", "2026-11-16T22:00:00+00:00"]["speed_cmps"] == 500


def test_volumes_are_of_the_hour_that_begins_at_the_label(tmp_path: Path) -> None:
    places = [["지점번호", "지점명", "위도", "경도"], ["A-01", "성산로", 37.56, 126.95]]
    content = workbook({"2026년 11월": [VOLUME_HEADER, volumes()], "수집지점 주소 및 좌표": places})
    archive, report = take(tmp_path, "11월 서울시 교통량 조사자료(2026).xlsx", content)
    assert (report.rows, report.quarantined) == (24, 0)
    table = stored(archive, "count").sort_by("time")
    assert table["vehicles"].to_pylist() == list(range(100, 124))
    assert table["time"].to_pylist()[0].isoformat() == MIDNIGHT
    assert table["time"].to_pylist()[-1].isoformat() == "2026-11-17T14:00:00+00:00"
    assert Dimensions(archive).names("sites") == {1: "A-01:금화터널->독립문"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("make", [speeds, volumes])
def test_a_table_is_the_same_as_csv_in_any_encoding(
    tmp_path: Path, encoding: str, make: Any
) -> None:
    header = SPEED_HEADER if make is speeds else VOLUME_HEADER
    feed = "link_speed" if make is speeds else "count"
    text = as_csv([header, make(), make("2026-11-18")])
    archive, report = take(tmp_path, "table.csv", text.encode(encoding))
    assert (report.rows, report.quarantined) == (48, 0)
    (tmp_path / "t.xlsx").write_bytes(workbook({"a": [header, make(), make("20261118")]}))
    ingest([tmp_path / "t.xlsx"], tmp_path / "other")
    assert stored(archive, feed).equals(stored(tmp_path / "other", feed))


SHEET_FAULTS: dict[str, tuple[list[Any], dict[str, int]]] = {
    "text": (speeds(h8="fast"), {"speed_cmps is not a number": 1}),
    "error value": (speeds(h8="#N/A"), {"speed_cmps is not a number": 1}),
    "nan": (speeds(h8="NaN"), {"speed_cmps is not finite": 1}),
    "negative": (speeds(h8=-1), {"speed_cmps is out of range": 1}),
    "too fast": (speeds(h8=300), {"speed_cmps is out of range": 1}),
    "no link": (speeds(link=None), {"link is missing": 24}),
    "no day": (speeds(day=None), {"time is missing": 24}),
    "no such day": (speeds(day=20261131), {"time cannot be read": 24}),
    "day as a serial number": (speeds(day=46343), {"time cannot be read": 24}),
    "old": (speeds(day=19700101), {"time is out of range": 24}),
    "one cell more": ([*speeds(), 5], {"wrong number of columns": 1}),
}


@pytest.mark.parametrize("fault", SHEET_FAULTS)
@pytest.mark.parametrize("suffix", ["xlsx", "csv"])
def test_a_bad_cell_costs_its_hour_only(tmp_path: Path, fault: str, suffix: str) -> None:
    row, reasons = SHEET_FAULTS[fault]
    rows = [SPEED_HEADER, speeds(day=20261101), row]
    content = workbook({"11월": rows}) if suffix == "xlsx" else as_csv(rows)
    archive, report = take(tmp_path, f"a.{suffix}", content)
    assert report.reasons == reasons
    one_hour = min(reasons).startswith("speed_cmps")
    assert report.rows == (24 + 23 if one_hour else 24)
    out = refused(archive)
    assert {r["row"] for r in out} == {3}
    assert {r["feed"] for r in out} == {"link_speed"}
    if one_hour:
        assert "~08시" in out[0]["raw"]
        assert "~07시" not in out[0]["raw"]


def test_days_of_excel_and_repeated_rows(tmp_path: Path) -> None:
    day = pa.scalar(1_794_700_800_000, pa.timestamp("ms")).as_py().replace(hour=0)
    rows = [["서울시 차량통행속도"], [], SPEED_HEADER, speeds(day=day), speeds(day=day)]
    archive, report = take(tmp_path, "a.xlsx", workbook({"x": rows}))
    assert (report.rows, report.duplicates, report.quarantined) == (24, 24, 0)
    assert min(stored(archive, "link_speed")["time"].to_pylist()).hour == 15


def test_a_volume_row_cut_short_is_refused(tmp_path: Path) -> None:
    text = as_csv([VOLUME_HEADER, volumes(h3=1e9), volumes(20261118)])
    archive, report = take(tmp_path, "a.csv", text[:-40])
    assert report.reasons == {"wrong number of columns": 1, "vehicles is out of range": 1}
    assert sorted(r["row"] for r in refused(archive)) == [2, 3]
    assert report.rows == 23


def sheet_errors() -> Iterator[tuple[str, bytes, str]]:
    whole = workbook({"a": [SPEED_HEADER, *(speeds(link=k) for k in range(500))]})
    yield "cut.xlsx", whole[: len(whole) // 2], "cannot be read"
    yield "damaged.xlsx", whole[:2000] + bytes(200) + whole[2200:], "cannot be read"
    yield "empty.xlsx", b"", "cannot be read"
    yield "html.xlsx", b"<html><body>Error</body></html>", "cannot be read"
    yield "no_rows.xlsx", workbook({"a": []}), "no table of speeds or volumes"
    yield "other.xlsx", workbook({"a": [["a", "b"], [1, 2]]}), "no table of speeds or volumes"
    no_link = [name for name in SPEED_HEADER if name != "링크아이디"]
    yield "no_link.xlsx", workbook({"a": [no_link]}), "no table of speeds or volumes"
    no_hour = [name for name in SPEED_HEADER if name != "~05시"]
    yield "no_hour.xlsx", workbook({"a": [no_hour]}), "no column '~05시'"
    no_kind = [name for name in VOLUME_HEADER if name != "구분"]
    yield "no_kind.csv", as_csv([no_kind]).encode("cp949"), "no column '구분'"
    yield "utf16.csv", as_csv([SPEED_HEADER]).encode("utf-16"), "no format claims"


@pytest.mark.parametrize(("name", "content", "words"), list(sheet_errors()))
def test_a_broken_table_has_a_clear_error(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / name], tmp_path / "archive")


def test_big_tables_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("topis.ingest.adapters.texts.BATCH_ROWS", 100)
    (tmp_path / "a.csv").write_text(as_csv([SPEED_HEADER, *(speeds(link=k) for k in range(1, 11))]))
    parts: list[Parsed] = list(SeoulSpreadsheet().read(tmp_path / "a.csv"))
    assert [len(p.rows.row) for p in parts if p.rows] == [100, 100, 40]
    assert json.loads(parts[2].rows.raw(39) if parts[2].rows else "")["~24시"] == "22.4"
