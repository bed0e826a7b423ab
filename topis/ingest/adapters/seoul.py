"""Seoul's open data, as its services answer: XML or JSON, stored one answer a file.

Field names as public clients read them; the services' own words are kept in the mappings.
An answer carries no time of its own for speeds: the file's name must end in the moment it was
fetched, ``TrafficInfo_20261117083000.xml``, in Seoul's time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa

from topis.errors import InputError
from topis.ingest.adapters.crs import to_wgs84
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.rows import Parsed, Reject, Rows, whole_letters

_SEOUL = 'timezone = "Asia/Seoul"'
#: Per service: how its rows become those of a feed. Columns beginning with _ are made here.
_MAPPINGS = {
    # Service links (OA-13291): speed in km/h, travel time in s.
    "TrafficInfo": f"""
        feed = "link_speed"
        [columns]
        link = "link_id"
        time = {{ column = "_fetched", format = "%Y%m%d%H%M%S", {_SEOUL} }}
        period_s = {{ value = 300 }}
        speed_cmps = {{ column = "prcs_spd", unit = "km/h" }}
        travel_ms = {{ column = "prcs_trv_time", unit = "s" }}
        """,
    # Hourly counts by site and direction (io_type 1 in, 2 out) and lane.
    "VolInfo": f"""
        feed = "count"
        [columns]
        site = "_site"
        lane = "lane_num"
        vehicle_class = {{ value = 0 }}
        time = {{ column = "_hour", format = "%Y%m%d%H", {_SEOUL} }}
        period_s = {{ value = 3600 }}
        vehicles = "vol"
        """,
    # Incidents (OA-13315); coordinates are GRS80 TM.
    "AccInfo": f"""
        feed = "incident"
        [columns]
        incident = "acc_id"
        time = {{ column = "_begin", format = "%Y%m%d%H%M%S", {_SEOUL} }}
        until = {{ column = "_until", format = "%Y%m%d%H%M%S", {_SEOUL} }}
        kind = "_kind"
        link = "link_id"
        lat_e7 = {{ column = "_lat", unit = "deg" }}
        lon_e7 = {{ column = "_lon", unit = "deg" }}
        note = "acc_info"
        """,
    # Bus positions by route or vehicle (ws.bus.go.kr).
    "itemList": f"""
        feed = "gps"
        [columns]
        vehicle = "vehId"
        time = {{ column = "dataTm", format = "%Y%m%d%H%M%S", {_SEOUL} }}
        lat_e7 = {{ column = "gpsY", unit = "deg" }}
        lon_e7 = {{ column = "gpsX", unit = "deg" }}
        kind = {{ value = 1 }}
        route = "_route"
        """,
}
#: acc_type: A01 accident, A02 breakdown, A04 works, A08 works, A10 event, A11 fire, A12 weather.
_KINDS = {"A01": "1", "A02": "1", "A04": "2", "A08": "2", "A10": "3", "A12": "4"}
_FETCHED = re.compile(r"(\d{14})$")


class SeoulOpenData:
    """TrafficInfo, VolInfo, AccInfo and bus positions."""

    name = "seoul"
    text = "Seoul open data: TrafficInfo, VolInfo, AccInfo, bus positions (.xml, .json)"

    def claims(self, path: Path) -> bool:
        """See `topis.ingest.rows.Adapter`."""
        if path.suffix.lower() not in (".xml", ".json") or not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(2000)
        return any(name.encode() in head for name in (*_MAPPINGS, "ServiceResult"))

    def read(self, path: Path) -> Iterator[Parsed]:
        """See `topis.ingest.rows.Adapter`."""
        service, items = _answer(path)
        mapping = Mapping.parse(_MAPPINGS[service], path)
        fetched = _FETCHED.search(path.stem)
        if service == "TrafficInfo" and fetched is None:
            raise InputError.at(
                path,
                "no time: speeds come without one",
                "end the file's name in when it was fetched, e.g. TrafficInfo_20261117083000.xml",
            )
        rejects: list[Reject] = []
        rows: list[dict[str, str]] = []
        numbers: list[int] = []
        for number, item in enumerate(items, 1):
            try:
                rows.append(_complete(service, item, fetched.group(1) if fetched else ""))
                numbers.append(number)
            except InputError as error:
                rejects.append(
                    Reject(number, "coordinates of no known system", str(error), _text(item))
                )
        wanted = {f.column for f in mapping.fields.values() if f.column is not None}
        table = pa.table(
            {name: pa.array([row.get(name) for row in rows], pa.string()) for name in wanted}
        )
        columns = mapping.apply(table, path)
        row = np.array(numbers, dtype=np.int64)
        yield Parsed(
            Rows(mapping.feed.name, columns, row, lambda i: _text(items[numbers[i] - 1])), rejects
        )


def _text(item: dict[str, str]) -> str:
    return json.dumps(item, ensure_ascii=False)


def _answer(path: Path) -> tuple[str, list[dict[str, str]]]:
    """Name of the service and its rows as texts."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".xml":
            root = ElementTree.fromstring(data)
            body = root.find(".//msgBody")
            service = root.tag if body is None else "itemList"
            found = root.iter("row") if body is None else body.iter("itemList")
            items = [{c.tag: (c.text or "").strip() for c in element} for element in found]
            code = root.findtext(".//CODE") or ""
        else:
            service, items, code = _json_answer(json.loads(data))
    except (OSError, ValueError, LookupError, RecursionError, ElementTree.ParseError) as error:
        raise InputError.at(path, f"cannot be read ({error})", "is the answer whole?") from None
    if service not in _MAPPINGS:
        raise InputError.at(
            path, f"service {service!r} is unknown", f"known are {', '.join(_MAPPINGS)}"
        )
    if not items and code not in ("INFO-000", "INFO-200", ""):
        raise InputError.at(path, f"the service answered {code}", "fetch it again")
    return service, items


def _json_answer(content: Any) -> tuple[str, list[dict[str, str]], str]:
    """As `_answer`, with the answer's code. A lone row may stand where a list is usual."""
    if not isinstance(content, dict) or not content:
        raise ValueError("no object")
    if "msgBody" in content:
        service, inner, name = "itemList", content["msgBody"] or {}, "itemList"
    else:
        (service, inner), name = next(iter(content.items())), "row"
    if not isinstance(inner, dict):
        raise ValueError("no service")
    rows = inner.get(name) or []
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{name} is no list of objects")
    result = inner.get("RESULT")
    code = str(result.get("CODE", "")) if isinstance(result, dict) else ""
    return service, [{k: _value(v) for k, v in row.items()} for row in rows], code


def _value(value: Any) -> str:
    return "" if value is None else whole_letters(str(value).strip())


def _complete(service: str, item: dict[str, str], fetched: str) -> dict[str, str]:
    """The item with the columns that its mapping needs and the service spreads over several."""
    made = dict(item, _fetched=fetched)
    if service == "VolInfo":
        made["_site"] = ":".join(
            part for part in (item.get("spot_num"), item.get("io_type")) if part
        )
        made["_hour"] = item.get("ymd", "") + item.get("hh", "")
    elif service == "AccInfo":
        made["_begin"] = item.get("occr_date", "") + item.get("occr_time", "")
        made["_until"] = item.get("exp_clr_date", "") + item.get("exp_clr_time", "")
        made["_kind"] = _KINDS.get(item.get("acc_type", ""), "9")
        x, y = item.get("grs80tm_x", ""), item.get("grs80tm_y", "")
        if x and y:
            try:
                lat, lon = to_wgs84(float(x), float(y))
            except ValueError:
                lat, lon = float("nan"), float("nan")
            made["_lat"], made["_lon"] = str(lat), str(lon)
    elif service == "itemList":
        route = item.get("busRouteId", "") or item.get("rtId", "")
        made["_route"] = route or "0"
    return made
