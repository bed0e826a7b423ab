"""Rows go to the district that what they tell of lies in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_ingest import MAPPING, nothing_lost
from topis.errors import InputError
from topis.ingest.archive import partitions
from topis.ingest.pipeline import ingest


def test_rows_are_stored_by_district(tmp_path: Path) -> None:
    mapping, source, places = (tmp_path / name for name in ("m.toml", "a.csv", "p.csv"))
    mapping.write_text(MAPPING)
    source.write_text(
        "site,when,lane,veh,speed\n"
        + "".join(f"{site},20261117080{k},1,5,40\n" for site in "ABC" for k in range(3))
    )
    places.write_text("kind,name,district\nsites,A,23\nsites,B,7\nlinks,A,9\n")
    (report,) = ingest([source], tmp_path / "archive", mapping_file=mapping, places_file=places)
    nothing_lost([report])
    assert [p.district for p, _ in partitions(tmp_path / "archive")] == [0, 23, 7]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind,name\nsites,A\n", "no column 'district'"),
        ("kind,name,district\nstreets,A,1\n", "line 2: kind 'streets' is unknown"),
        ("kind,name,district\nsites,A,0\n", "district '0' is none"),
        ("kind,name,district\nsites,A,x\n", "district 'x' is none"),
        ("kind,name,district\nsites,A,1\nsites,A,2\n", "line 3: 'A' is in two districts"),
        ("kind,name,district\nsites,A\n", "district '' is none"),
        ("", "no column"),
    ],
)
def test_a_bad_table_of_places_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.toml").write_text(MAPPING)
    (tmp_path / "a.csv").write_text("site,when,lane,veh,speed\nA,202611170800,1,5,40\n")
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError) as error:
        ingest(
            [tmp_path / "a.csv"],
            tmp_path / "archive",
            mapping_file=tmp_path / "m.toml",
            places_file=tmp_path / "p.csv",
        )
    assert words in str(error.value)
    assert not partitions(tmp_path / "archive")
