"""CSV and JSON lines as people write them: quotes, line breaks, encodings, files of any size."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_ingest import MAPPING, nothing_lost, stored
from topis.ingest import staging
from topis.ingest.adapters import mapped
from topis.ingest.adapters.lines import CsvLines
from topis.ingest.adapters.mapped import MappedCsv
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.pipeline import SourceReport, ingest
from topis.ingest.rows import Reject

NOTES = """
feed = "incident"
[columns]
incident = "id"
time = { column = "t", unit = "unix s" }
kind = { value = 1 }
note = "note"
"""


def take(
    tmp_path: Path, content: str | bytes, mapping: str = NOTES, name: str = "a.csv"
) -> tuple[list[tuple[int, str]], SourceReport]:
    """(incident, note) of the rows that were stored."""
    (tmp_path / "m.toml").write_text(mapping)
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    (report,) = ingest([source], tmp_path / "archive", mapping_file=tmp_path / "m.toml")
    nothing_lost([report])
    table = stored(tmp_path / "archive", "incident")
    return list(zip(*(table[n].to_pylist() for n in ("incident", "note")), strict=True)), report


def refused(archive: Path) -> list[tuple[int, str]]:
    (path,) = (archive / "quarantine").glob("*.parquet")
    return sorted((row["row"], row["raw"]) for row in pq.read_table(path).to_pylist())


def test_fields_may_have_line_breaks(tmp_path: Path) -> None:
    rows, report = take(
        tmp_path,
        'id,t,note\n1,1794700800,plain\n2,1794700800,"two\nlines, and ""quotes"""\n'
        '3,1794700800,"a\r\n\r\nb"\n4,1794700800,5" pipe\n',
    )
    assert rows == [
        (1, "plain"), (2, 'two\nlines, and "quotes"'), (3, "a\n\nb"), (4, '5" pipe'),
    ]  # fmt: skip
    assert report.read == 4


def test_a_quote_that_nobody_closed_costs_its_own_line(tmp_path: Path) -> None:
    lines = [f"{k},1794700800,{'x' if k not in (5, 9, 290) else chr(34) + 'x'}" for k in range(300)]
    rows, report = take(tmp_path, "id,t,note\n" + "\n".join(lines) + "\n")
    assert report.reasons == {"quote is not closed": 3}
    assert [incident for incident, _ in rows] == [k for k in range(300) if k not in (5, 9, 290)]
    assert refused(tmp_path / "archive") == [(k + 2, lines[k]) for k in (5, 9, 290)]


def test_line_numbers_hold_over_records_and_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped, "BATCH_ROWS", 2)
    _, report = take(
        tmp_path,
        'id,t,note\n1,1794700800,"a\nb"\nx,1794700800,c\n3,1794700800\n\n5,1794700800,"d\n\ne"\n'
        "6,1794700800,f,g\n",
    )
    assert report.rows == 2
    assert [row for row, _ in refused(tmp_path / "archive")] == [4, 5, 6, 10]


texts = st.text(st.sampled_from('ab",\n\r '), max_size=12)


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(st.tuples(texts, texts), max_size=12), batch=st.integers(1, 5))
def test_what_a_csv_writer_wrote_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], batch: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "note", "t"])
        writer.writerows([a, b, str(k)] for k, (a, b) in enumerate(rows))
    text = (
        'feed = "incident"\n[columns]\nincident = "t"\ntime = { column = "t", unit = "unix s" }\n'
        'kind = "id"\nnote = "note"\n'
    )
    adapter = MappedCsv(Mapping.parse(text, path))
    got: list[tuple[str, str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mapped, "BATCH_ROWS", batch)
        for parsed in adapter.read(path):
            assert not parsed.rejects
            assert parsed.rows is not None
            columns = parsed.rows.columns
            got += zip(columns["kind"].to_pylist(), columns["note"].to_pylist(), strict=True)

    def plain(field: str) -> str | None:
        return field.replace("\r\n", "\n").replace("\r", "\n").strip() or None

    assert got == [(plain(a), plain(b)) for a, b in rows]


@settings(max_examples=300, deadline=None)
@given(
    lines=st.lists(st.text(st.sampled_from('a",'), max_size=6), max_size=12), most=st.integers(1, 9)
)
def test_every_line_is_in_one_record_or_refused(lines: list[str], most: int) -> None:
    seen: list[int] = []
    for block in CsvLines(lines, 3).blocks(most):
        for reject in block.rejects:
            seen.append(reject.row)
            assert reject.raw == lines[reject.row - 2]
        for line, text in zip(block.line, block.text, strict=True):
            span = text.count("\n") + 1
            seen += range(line, line + span)
            assert text.split("\n") == lines[line - 2 : line - 2 + span]
            if span > 1:
                assert len(next(csv.reader(io.StringIO(text)))) == 3
    assert sorted(seen) == list(range(2, len(lines) + 2))


def test_a_csv_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "BATCH_ROWS", 10_000)
    mapping, source = tmp_path / "m.toml", tmp_path / "a.csv"
    mapping.write_text(MAPPING)
    with source.open("w") as file:
        file.write("site,when,lane,veh,speed\n")
        file.writelines(f"A,202611170000,1,{k % 9},{'0' * 100}40\n" for k in range(200_000))
    adapter = MappedCsv(Mapping.read(mapping))
    tracemalloc.start()
    count = sum(len(p.rows.row) for p in adapter.read(source) if p.rows is not None)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 200_000
    assert most < 0.5 * source.stat().st_size


@pytest.mark.parametrize("encoding", ["cp949", "utf-16", "utf-8-sig"])
def test_json_lines_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    line = json.dumps({"id": 1, "t": 1_794_700_800, "note": "강남역"}, ensure_ascii=False)
    named = NOTES if encoding != "utf-16" else f'encoding = "{encoding}"\n{NOTES}'
    rows, _ = take(tmp_path, f"{line}\n".encode(encoding), named, "a.jsonl")
    assert rows == [(1, "강남역")]


def test_one_bad_byte_costs_one_json_line(tmp_path: Path) -> None:
    good = b'{"id": 1, "t": 1794700800, "note": "x"}\n'
    bad = b'{"id": 2, "t": 1794700800, "note": "\xff\xff"}\n'
    half = b'{"id": 3, "t": 1794700800, "note": "\\ud800"}\n'
    rows, report = take(tmp_path, good + bad + half, name="a.jsonl")
    assert rows == [(1, "x")]
    assert report.reasons == {"not a JSON object": 2}


def test_refused_rows_are_written_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "_MOST_REJECTS", 100)
    held = []
    whole = staging.StagedSource.refuse

    def watched(self: staging.StagedSource, feed: str, rejects: list[Reject]) -> None:
        whole(self, feed, rejects)
        held.append(len(self._rejects))

    monkeypatch.setattr(staging.StagedSource, "refuse", watched)
    lines = [f"{k},never,x" for k in range(1234)]
    _, report = take(tmp_path, "id,t,note\n" + "\n".join(lines) + "\n")
    assert report.quarantined == 1234
    assert max(held) < 100
    assert [row for row, _ in refused(tmp_path / "archive")] == list(range(2, 1236))
