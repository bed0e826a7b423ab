"""V2X signal times, and messages that are broken."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.adapter_cases import EIGHT_MS, refused, take
from tests.test_ingest import stored
from topis.errors import InputError
from topis.ingest.adapters.spat import APPROACHES, MOVEMENTS, STATES
from topis.ingest.dimensions import Dimensions
from topis.ingest.pipeline import ingest


def spat(**fields: Any) -> dict[str, Any]:
    """A message as the fusion service answers, most fields null."""
    empty = {
        f"{a}{m}sg{what}": None
        for a in APPROACHES
        for m in MOVEMENTS
        for what in ("RmdrCs", "StatNm")
    }
    told = {"dataId": "SPAT-1", "trsmUtcTime": EIGHT_MS + 725, "itstId": "1850", "eqmnId": "CIB1"}
    return {**told, **empty, **fields}


def test_spat_signals(tmp_path: Path) -> None:
    message = spat(
        ntStsgRmdrCs=185.0, ntStsgStatNm="protected-Movement-Allowed",
        etLtsgRmdrCs="62", etLtsgStatNm="stop-And-Remain",
        nwBcsgRmdrCs=36001, nwBcsgStatNm="dark",
        wtPdsgRmdrCs=0, swUtsgStatNm="permissive-clearance",
    )  # fmt: skip
    archive, report = take(tmp_path, "spat.json", json.dumps([message]))
    assert (report.rows, report.quarantined) == (5, 0)
    rows = {r["signal"]: r for r in stored(archive, "spat").to_pylist()}
    found = {s: (r["state"], r["remaining_ds"]) for s, r in rows.items()}
    assert found == {
        0: (6, 185),
        8 * 2 + 1: (3, 62),
        8 * 6 + 2: (0, 0),
        8 * 5 + 3: (7, None),
        8 * 7 + 5: (1, None),
    }
    assert rows[0]["time"].isoformat() == "2026-11-16T23:00:00.725000+00:00"
    assert Dimensions(archive).names("controllers") == {1: "1850"}


def test_each_signal_has_a_number_of_its_own(tmp_path: Path) -> None:
    names = [f"{a}{m}sg" for a in APPROACHES for m in MOVEMENTS]
    told = {f"{n}RmdrCs": i for i, n in enumerate(names)}
    states = {f"{n}StatNm": STATES[i % 10].upper() for i, n in enumerate(names)}
    archive, report = take(tmp_path, "s.json", json.dumps({"items": [spat(**told, **states)]}))
    assert report.rows == 48
    for row in stored(archive, "spat").to_pylist():
        approach, movement = divmod(row["signal"], 8)
        place = names.index(f"{APPROACHES[approach]}{MOVEMENTS[movement]}sg")
        assert (row["remaining_ds"], row["state"]) == (place, place % 10)


GREEN = {"ntStsgRmdrCs": 10, "ntStsgStatNm": "protected-Movement-Allowed"}
SPAT_FAULTS: dict[str, tuple[Any, str]] = {
    "unknown state": (spat(**{**GREEN, "ntStsgStatNm": "green"}), "state is unknown"),
    "state as a number": (spat(**{**GREEN, "ntStsgStatNm": 6}), "state is unknown"),
    "beyond the sentinels": (
        spat(**{**GREEN, "ntStsgRmdrCs": 36002}),
        "remaining_ds is out of range",
    ),
    "negative": (spat(**{**GREEN, "ntStsgRmdrCs": -1}), "remaining_ds is out of range"),
    "text": (spat(**{**GREEN, "ntStsgRmdrCs": "10s"}), "remaining_ds is not a number"),
    "nan": (spat(**{**GREEN, "ntStsgRmdrCs": math.nan}), "remaining_ds is not finite"),
    "list": (spat(**{**GREEN, "ntStsgRmdrCs": [10]}), "remaining_ds is not a number"),
    "no time": (spat(**GREEN, trsmUtcTime=None), "time is missing"),
    "written time": (spat(**GREEN, trsmUtcTime="2026-11-17 08:00"), "time cannot be read"),
    "time in s": (spat(**GREEN, trsmUtcTime=EIGHT_MS // 1000), "time is out of range"),
    "no junction": (spat(**GREEN, itstId=None), "controller is missing"),
    "all null": (spat(), "no signal in the message"),
    "no object": ("SPAT", "not a JSON object"),
}


@pytest.mark.parametrize("fault", SPAT_FAULTS)
def test_a_bad_message_is_refused(tmp_path: Path, fault: str) -> None:
    bad, reason = SPAT_FAULTS[fault]
    good = spat(**GREEN)
    later = {**good, "trsmUtcTime": EIGHT_MS}
    archive, report = take(tmp_path, "s.json", json.dumps([good, later, bad, good]))
    assert (report.rows, report.duplicates) == (2, 1)
    assert report.reasons == {reason: 1}
    assert refused(archive)[0]["row"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps([spat(**GREEN)])[:-5], "is it whole"),
        ("", "is it whole"),
        ('{"itstId": 1, "trsmUtcTime": 5}', "no list of messages"),
        ('"itstId"', "no list of messages"),
    ],
)
def test_a_broken_answer_has_a_clear_error(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=words):
        ingest([tmp_path / "s.json"], tmp_path / "archive", form="spat")
