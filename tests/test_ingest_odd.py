"""Files that are nearly right: taken in where their meaning is plain, else a clear error."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from tests.test_adapter_claims import every_fixture
from tests.test_adapters import COUNTS
from tests.test_ingest import NOON_MS, loops, nothing_lost, stored
from topis.cli.main import cli
from topis.errors import InputError
from topis.ingest.health import loop_faults
from topis.ingest.pipeline import ingest

ROW = COUNTS["VolInfo"]["row"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ({"VolInfo": {"row": ROW}}, 1),
        ({"VolInfo": {"RESULT": None, "row": [ROW]}}, 1),
        ({"VolInfo": {"RESULT": "INFO-000", "row": [{**ROW, "vol": None}]}}, 1),
        ({"VolInfo": {"row": None}}, 0),
        ({"msgBody": None}, 0),
        ({"msgBody": {"itemList": None}}, 0),
    ],
)
def test_odd_answers_of_seoul(tmp_path: Path, content: object, rows: int) -> None:
    source = tmp_path / "vol.json"
    source.write_text(json.dumps(content))
    (report,) = ingest([source], tmp_path / "archive", form="seoul")
    assert report.rows == rows


@pytest.mark.parametrize(
    "content",
    [
        {"VolInfo": {"row": "none"}},
        {"VolInfo": {"row": [ROW, "none"]}},
        {"VolInfo": {"row": [[ROW]]}},
        {"VolInfo": 7},
        {"msgBody": [1]},
        [1],
    ],
)
def test_answers_that_are_none(tmp_path: Path, content: object) -> None:
    source = tmp_path / "vol.json"
    source.write_text(json.dumps(content))
    with pytest.raises(InputError, match="cannot be read"):
        ingest([source], tmp_path / "archive", form="seoul")


def test_canonical_columns_of_other_types(tmp_path: Path) -> None:
    """As other programs write them: dictionaries, large strings, wider numbers."""
    plain = pq.read_table(loops(tmp_path / "a.parquet", [1, 2], [NOON_MS, NOON_MS + 5], [3, 4]))
    odd = {
        "detector": pc.dictionary_encode(plain["detector"]),
        "time": plain["time"].cast(pa.timestamp("ns", tz="Asia/Seoul")),
        "on_ms": pa.array(["3", "4"], pa.large_string()),
        "speed_cmps": pa.nulls(2),
        "length_dm": pa.nulls(2, pa.float64()),
        "quality": pa.array([0, 0], pa.decimal128(5, 0)),
    }
    table = pa.table(odd).replace_schema_metadata(plain.schema.metadata)
    for name in ("o.parquet", "o.arrow"):
        path = tmp_path / name
        if name == "o.arrow":
            with pa.ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table)
        else:
            pq.write_table(table, path)
        (report,) = ingest([path], tmp_path / f"from {name}")
        assert report.rows == 2
        assert stored(tmp_path / f"from {name}").equals(plain.replace_schema_metadata())


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        ("on_ms", pa.array([[1], [2]]), "column 'on_ms' is of type list"),
        ("on_ms", pa.array([b"1", b"2"]), "column 'on_ms' is of type binary"),
        ("on_ms", pa.array([0, 1], pa.timestamp("s")), "column 'on_ms' is of type timestamp"),
        ("time", pa.array([True, False]), "column 'time' is of type bool"),
        ("time", pa.array([0, 1], pa.date32()), "column 'time' is of type date32"),
    ],
)
def test_canonical_columns_that_mean_something_else(
    tmp_path: Path, name: str, column: pa.Array, words: str
) -> None:
    table = pq.read_table(loops(tmp_path / "a.parquet", [1, 2], [NOON_MS, NOON_MS + 5], [3, 4]))
    table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "odd.parquet")
    with pytest.raises(InputError) as error:
        ingest([tmp_path / "odd.parquet"], tmp_path / "archive")
    assert words in str(error.value)


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pq.read_table(loops(tmp_path / "a.parquet", [1], [NOON_MS], [3]))
    twice = table.append_column("on_ms", table["on_ms"])
    with pa.ipc.new_file(str(tmp_path / "b.arrow"), twice.schema) as writer:
        writer.write_table(twice)
    with pytest.raises(InputError, match="two columns have the same name"):
        ingest([tmp_path / "b.arrow"], tmp_path / "archive")


def test_foreign_parquet_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "truth").mkdir(parents=True)
    loops(folder / "a.parquet", [1], [NOON_MS], [1])
    pq.write_table(pa.table({"queue": [1]}), folder / "truth" / "queues.parquet")
    command = ["ingest", str(folder), "--into", str(tmp_path / "archive")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    assert "passed over, of no known format: 1 files, e.g. queues.parquet" in done.output
    assert stored(tmp_path / "archive").num_rows == 1
    # A damaged one is not passed over in silence.
    (folder / "b.parquet").write_bytes(b"PAR1")
    done = CliRunner().invoke(cli, command)
    assert isinstance(done.exception, InputError)


def test_a_clock_decades_off_costs_nothing(tmp_path: Path) -> None:
    """And the silence of another loop is found all the same."""
    moments = [NOON_MS + 4000 * k for k in range(4500)]
    detector = [d for d in (1, 2, 3) for _ in moments]
    times = moments * 2 + [t for t in moments if not 0 < (t - NOON_MS) // 3_600_000 < 3]
    far = 4_070_908_800_000
    path = loops(
        tmp_path / "a.parquet",
        [*detector[: len(times)], 1, 2],
        [*times, far, far + 86_400_000 * 100],
        [100] * (len(times) + 2),
    )
    ingest([path], tmp_path / "archive")
    (fault,) = loop_faults(tmp_path / "archive")
    assert (fault.detector, fault.kind) == (3, "silent")
    assert (fault.begin_ms, fault.end_ms) == (NOON_MS + 3_600_000, NOON_MS + 3 * 3_600_000)


def test_damaged_files_of_every_format_have_no_traceback(tmp_path: Path) -> None:
    draw = random.Random(4)
    fixtures = [f for f in every_fixture() if f[2] not in ("", "canonical")]
    for number in range(150):
        name, content, form = fixtures[number % len(fixtures)]
        data = bytearray(content.encode() if isinstance(content, str) else content)
        for _ in range(draw.choice([1, 2, 5, 30])):
            at = draw.randrange(len(data))
            if draw.random() < 0.5:
                data[at] = draw.randrange(256)
            else:
                odd = draw.choice(
                    [b'"', b"\n", b"\r", b"<", b"\x00", b"\xff", b"1e999", b"\\ud800"]
                )
                data[at : at + draw.randint(0, 20)] = odd
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).write_bytes(bytes(data))
        with contextlib.suppress(InputError):
            nothing_lost(ingest([folder / name], folder / "archive", form=form))
