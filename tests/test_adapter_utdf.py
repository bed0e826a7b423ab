"""Synchro UTDF in and out, and files that are broken."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.adapter_cases import EIGHT_MS, MIDNIGHT, refused, take
from tests.test_ingest import nothing_lost, stored
from topis.errors import InputError, OutputError
from topis.ingest.adapters.registry import adapter_for
from topis.ingest.adapters.utdf_out import write_utdf
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import ingest
from topis.model.schemas import FEEDS

UTDF = """[Network]
Network Settings
RECORDNAME,DATA
UTDFVERSION,8
[Timeplans]
Timing Plan Settings
RECORDNAME,INTID,DATA
Control Type,7,3
Cycle Length,7,90.0
Offset,7,12.5
Referenced To,7,0
[Phases]
Phasing Data
RECORDNAME,INTID,D1,D2,D3,D4,D5,D6,D7,D8
BRP,7,112,111,121,122,211,212,221,222
MinGreen,7,5,10,,8,,,,
MaxGreen,7,20.5,35,,24,,0,,
Yellow,7,3.5,3,,3,,0.0,,
AllRed,7,1,1,,0,,0,,
"""


def test_utdf_phases_in_the_order_of_their_barriers(tmp_path: Path) -> None:
    archive, report = take(tmp_path, "plan_20261117.csv", UTDF)
    assert (report.rows, report.quarantined) == (3, 0)
    table = stored(archive, "plan")
    # D2 leads D1: its place in the ring comes first.
    assert table["split_ms"].to_pylist() == [39_000, 25_000, 27_000]
    assert table["stage"].to_pylist() == [0, 1, 2]
    assert set(table["cycle_ms"].to_pylist()) == {90_000}
    assert set(table["offset_ms"].to_pylist()) == {12_500}
    assert set(table["plan"].to_pylist()) == {1}
    assert table["time"].to_pylist()[0].isoformat() == MIDNIGHT
    assert Dimensions(archive).names("controllers") == {1: "7"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[Timeplans]", "[Timing Plans]"),
        ("[Network]", '"[Network]",,,'),
        ("\n", "\r\n"),
        ("BRP,7,112,111,121,122,211,212,221,222\n", ""),
        ("[Network]", "\ufeff[Network]"),
    ],
)
def test_utdf_as_others_write_it(tmp_path: Path, old: str, new: str) -> None:
    _, report = take(tmp_path, "plan_20261117.csv", UTDF.replace(old, new))
    assert (report.rows, report.quarantined) == (3, 0)


OFFSET = "Offset,7,12.5\n"
#: What is replaced by what, why rows are refused, how many are left.
UTDF_FAULTS: dict[str, tuple[str, str, dict[str, int], int]] = {
    "text": ("20.5,35", "long,35", {"split_ms is not a number": 1}, 2),
    "nan": ("20.5,35", "nan,35", {"split_ms is not finite": 1}, 2),
    "too long": ("20.5,35", "2000,35", {"split_ms is out of range": 1}, 2),
    "negative": ("20.5,35", "-20,35", {"split_ms is out of range": 1}, 2),
    "blank green": ("20.5,35", ",35", {"split_ms is missing": 1}, 2),
    "no all-red": ("AllRed,7,1,1,,0,,0,,\n", "", {"split_ms is missing": 3}, 0),
    "no cycle": ("Cycle Length,7,90.0\n", "", {"cycle_ms is missing": 3}, 0),
    "short cycle": ("90.0", "0", {"cycle_ms is out of range": 3}, 0),
    "no offset": (OFFSET, "", {"offset_ms is missing": 3}, 0),
    "bad BRP": ("112,111", "1,111", {"BRP cannot be read": 1}, 2),
    "no phases": (UTDF[UTDF.index("MaxGreen") :], "", {"controller without phases": 1}, 0),
    "twice": (OFFSET, OFFSET * 2, {"record comes twice": 1}, 3),
    "no INTID": (OFFSET, f"{OFFSET}Offset,,3\n", {"controller is missing": 1}, 3),
    "one cell more": (OFFSET, f"{OFFSET}Offset,7,1,4\n", {"wrong number of columns": 1}, 3),
    "bad plan": (OFFSET, f"{OFFSET}TOPIS Plan,7,x\n", {"plan is not a number": 3}, 0),
    "bad time": (OFFSET, f"{OFFSET}TOPIS Time,7,x\n", {"time cannot be read": 3}, 0),
}


@pytest.mark.parametrize("fault", UTDF_FAULTS)
def test_a_bad_record_is_refused(tmp_path: Path, fault: str) -> None:
    old, new, reasons, rows = UTDF_FAULTS[fault]
    assert old in UTDF
    archive, report = take(tmp_path, "plan_20261117.csv", UTDF.replace(old, new))
    assert (report.reasons, report.rows) == (reasons, rows)
    assert {r["feed"] for r in refused(archive)} == {"plan"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("plan.csv", UTDF, "end the file's name in the day"),
        ("p_20261117.csv", UTDF[: UTDF.index("[Phases]")], r"no section \[Phases\]"),
        ("p_20261117.csv", UTDF[: UTDF.index("RECORDNAME,INTID,D1")], r"no section \[Phases\]"),
        ("p_20261117.csv", UTDF.replace("INTID,DATA", "INTID,VALUE"), "has no DATA"),
        ("p_20261117.csv", UTDF.replace("INTID,D1", "NODE,D1"), "has no INTID"),
        ("p_20261117.csv", "", "no section"),
    ],
)
def test_broken_utdf_has_a_clear_error(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / name], tmp_path / "archive", form="utdf")


def plan_rows(rows: list[tuple[int, int, int, int, int, list[int]]]) -> pa.Table:
    """Canonical plans of (controller, plan, time, cycle, offset, splits)."""
    feed = FEEDS["plan"]
    values = [
        (c, plan, stage, time, cycle, offset, split, 0)
        for c, plan, time, cycle, offset, splits in rows
        for stage, split in enumerate(splits)
    ]
    columns = [pa.array(list(column), pa.int64()) for column in zip(*values, strict=True)]
    return pa.table(
        {n: c.cast(feed.column(n).type) for n, c in zip(feed.schema.names, columns, strict=True)},
        schema=feed.schema,
    )


one_plan = st.tuples(
    st.integers(0, 65_535),
    st.integers(EIGHT_MS, EIGHT_MS + 10**9),
    st.integers(10_000, 600_000),
    st.integers(0, 600_000),
    st.lists(st.integers(1000, 600_000), min_size=1, max_size=20),
)


@settings(max_examples=25, deadline=None)
@given(plans=st.lists(one_plan, min_size=1, max_size=4))
def test_plans_written_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, plans: list[tuple[int, int, int, int, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("utdf")
    table = plan_rows([(key, *plan) for key, plan in enumerate(plans, 1)])
    names = {key: str(1000 + key) for key in range(1, len(plans) + 1)}
    write_utdf(folder / "plans.csv", table, names)
    assert adapter_for(folder / "plans.csv").name == "utdf"
    (report,) = ingest([folder / "plans.csv"], folder / "archive")
    nothing_lost([report])
    assert report.quarantined == 0
    order = [("controller", "ascending"), ("stage", "ascending")]
    again = stored(folder / "archive", "plan").sort_by(order)
    assert again.equals(table.replace_schema_metadata())
    assert Dimensions(folder / "archive").names("controllers") == names


def test_plans_that_utdf_cannot_tell_are_refused(tmp_path: Path) -> None:
    plan = (3, EIGHT_MS, 90_000, 0, [40_000, 50_000])
    whole = plan_rows([(1, *plan)])
    out = tmp_path / "p.csv"
    with pytest.raises(InputError, match="no INTID"):
        write_utdf(out, whole, {1: "강남역"})
    with pytest.raises(InputError, match="two plans"):
        write_utdf(out, plan_rows([(1, *plan), (1, 4, *plan[1:])]), {})
    with pytest.raises(InputError, match="stage is missing"):
        write_utdf(out, whole.filter(pc.equal(whole["stage"], 1)), {})
    assert not out.exists()
    with pytest.raises(OutputError, match="cannot be written"):
        write_utdf(tmp_path / "no" / "p.csv", whole, {})
    write_utdf(out, whole, {}, yellow_ms=4000, all_red_ms=2000)
    assert "MaxGreen,1,34,44," in out.read_text()
