"""Signal states and remaining times of Seoul's T-Data V2X services: JSON, an object a message.

Fields are named ``ntStsgRmdrCs``: approach, movement, ``sg``, what. Remaining times are labelled
centiseconds and are tenths of a second. The services for timing alone give no states: 0 then
(unavailable); the fusion service gives both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from topis.errors import InputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.texts import NUMBER, Record, as_json, batches
from topis.ingest.rows import Parsed, Reject

#: Their place here is their number: signal = 8 x approach + movement.
APPROACHES = ("nt", "ne", "et", "se", "st", "sw", "wt", "nw")
#: Straight, left, walkers, U-turn, bus, bicycle.
MOVEMENTS = ("St", "Lt", "Pd", "Ut", "Bs", "Bc")
#: SAE J2735 MovementPhaseState; its place is its number.
STATES = (
    "unavailable", "dark", "stop-Then-Proceed", "stop-And-Remain", "pre-Movement",
    "permissive-Movement-Allowed", "protected-Movement-Allowed", "permissive-clearance",
    "protected-clearance", "caution-Conflicting-Traffic",
)  # fmt: skip
_NUMBERS = {name.lower(): str(number) for number, name in enumerate(STATES)}
#: J2735 TimeMark: an hour or more, and unknown.
_UNKNOWN = {"36000", "36001", "36000.0", "36001.0"}
_MAPPING = """
    feed = "spat"
    [columns]
    controller = "controller"
    signal = "signal"
    time = { column = "time", unit = "unix ms" }
    state = "state"
    remaining_ds = { column = "remaining", unit = "0.1 s" }
    """


class SeoulSpat:
    """A list of messages, or an object that holds one."""

    name = "spat"
    text = "Seoul T-Data V2X signal states and remaining times (.json)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if path.suffix.lower() != ".json" or not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(4000)
        return b'"itstId"' in head and (b'"trsmUtcTime"' in head or b"sgRmdrCs" in head)

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError.at(path, f"cannot be read ({error})", "is it whole?") from None
        if isinstance(content, dict):
            content = next((v for v in content.values() if isinstance(v, list)), None)
        if not isinstance(content, list):
            raise InputError.at(path, "no list of messages", "hand over the service's answer")
        yield from batches(Mapping.parse(_MAPPING, path), path, _records(content))


def _records(messages: list[Any]) -> Iterator[Record | Reject]:
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            yield Reject(number, "not a JSON object", type(message).__name__, as_json(message))
            continue
        whose = {name: message.get(name) for name in ("itstId", "eqmnId", "trsmUtcTime")}
        time = _text(whose["trsmUtcTime"])
        if time and not NUMBER.fullmatch(time):
            yield Reject(number, "time cannot be read", time, as_json(message))
            continue
        any_signal = False
        for signal, field in _SIGNALS:
            told = {name: message.get(name) for name in (f"{field}RmdrCs", f"{field}StatNm")}
            remaining, state = (_text(value) for value in told.values())
            if not remaining and not state:
                continue
            any_signal = True
            raw = {**whose, **told}
            if state and state.lower() not in _NUMBERS:
                yield Reject(number, "state is unknown", f"{field}StatNm {state}", as_json(raw))
                continue
            values = {
                "controller": _text(whose["itstId"]),
                "signal": signal,
                "time": time,
                "state": _NUMBERS[state.lower()] if state else "0",
                "remaining": "" if remaining in _UNKNOWN else remaining,
            }
            yield Record(number, values, raw)
        if not any_signal:
            yield Reject(number, "no signal in the message", "", as_json(message))


#: Each signal's number and the beginning of its fields.
_SIGNALS = [
    (str(8 * a + m), f"{approach}{movement}sg")
    for a, approach in enumerate(APPROACHES)
    for m, movement in enumerate(MOVEMENTS)
]


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
