"""`topis why`: what a junction was to show at a moment, why, and what else was weighed."""

from __future__ import annotations

import json
from pathlib import Path

import click

from topis.cli import EXIT_CODES
from topis.control.protocol import AT_LEAST, AT_MOST, EXACT
from topis.report.lane_evidence import AHEAD_S, PROBES_MS, LaneSeen, SensorSeen
from topis.report.reasons import Explanation, Weighing, served_text
from topis.run.why import clock_text, explain
from topis.units import MS_PER_S, S_PER_H

_MARKS = {EXACT: "", AT_LEAST: "at least ", AT_MOST: "at most "}
#: Links named of each stage.
_MOST_LINKS = 4


@click.command(epilog=EXIT_CODES)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--junction", required=True, metavar="ID", help="See topis network show.")
@click.option("--at", "when", required=True, metavar="TIME", help="08:12:30, ISO, or seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(run: Path, junction: str, when: str, as_json: bool) -> None:
    """Tell why a junction of a RUN was to show what it was at a moment.

    First what was shown and wanted, and why; then every stage it could have changed to, with
    what it was predicted to cost; then each approach lane: what was believed of it, which
    sensors and probes told so, and how old that was.

    Of a replay the reasons were kept. Of a simulation the loop is repeated from its journal up to
    that time. A time of day is the first such in the run, UTC if the run has dates.

    \b
    Example:
      topis why morning --junction B3 --at 08:12:30
      topis why runs/gangnam/adaptive-seed1 --junction J12 --at 1830 --json
    """  # noqa: D301
    found = explain(run, junction, when)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
        return
    click.echo(_sentence(found))
    for line in (*_alternatives(found), "", *_evidence(found)):
        click.echo(line)


def _sentence(found: Explanation) -> str:
    """What was shown, what was wanted, and why."""
    answer, name = found.answer, found.network.junction_ids[found.junction]
    shown = f"showed stage {found.local(answer.shown)}"
    if answer.shown < 0:
        shown = "was between stages"
    wanted = "and kept it" if answer.shown == answer.wanted else f"and wanted {_stage(found)}"
    text = f"{clock_text(answer.time_ms)}: {name} {shown} {wanted}: {answer.why.text}"
    if answer.refused:
        text += f". The guard refused: {answer.refused}"
    return text + "."


def _stage(found: Explanation) -> str:
    wanted = found.local(found.answer.wanted)
    return "its own program" if wanted is None else f"stage {wanted}"


def _meant(found: Explanation, weighing: Weighing) -> str:
    """What the best play goes on to do after a stage that it keeps."""
    if weighing.extend_s <= 0:
        return ""
    then = "as the base policy goes"
    if weighing.next_stage >= 0:
        then = f"stage {found.local(weighing.next_stage)}"
    return f"; the best keeps it for {weighing.extend_s} s, then {then}"


def _alternatives(found: Explanation) -> list[str]:
    measure, weighing, ranked = found.measure, found.answer.weighing, found.ranked
    if measure is None or weighing is None:
        return ["", f"{found.controller} had weighed no alternatives here."]
    age_s = (found.answer.time_ms - weighing.time_ms) / MS_PER_S
    then = "" if age_s == 0 else f", weighed {age_s:g} s before"
    lines = ["", f"{measure.name} of each stage ({measure.unit}){then}{_meant(found, weighing)}:"]
    best = ranked[0].value
    for number, row in enumerate(ranked):
        difference = "best" if number == 0 else f"{_MARKS[row.bound]}{row.value - best:+.1f}"
        links = served_text(found.network, row.stage)
        more = f" and {len(links) - _MOST_LINKS} more" if len(links) > _MOST_LINKS else ""
        lines.append(
            f"  {'>' if row.stage == weighing.wanted else ' '} stage {found.local(row.stage):<3}"
            f"{row.value:10.1f}  {difference:20}"
            f"{'keep; ' if row.stage == weighing.shown else ''}"
            f"green for {', '.join(links[:_MOST_LINKS]) or 'walkers'}{more}"
        )
    return lines


def _evidence(found: Explanation) -> list[str]:
    minutes = PROBES_MS // 60_000
    lines = [f"Evidence (arrivals of the next {AHEAD_S} s, probes of the last {minutes} min):"]
    for lane in found.lanes:
        lines.append(f"  {lane.lane}: {_believed(lane)}")
        lines += [f"    {_sensor(sensor)}" for sensor in lane.sensors]
        if not lane.sensors:
            lines.append("    no sensor")
        if lane.probes:
            count = "1 probe" if lane.probes == 1 else f"{lane.probes} probes"
            lines.append(f"    {count}, the newest report {lane.probe_age_s:.0f} s old")
    return lines


def _believed(lane: LaneSeen) -> str:
    age = "nothing seen lately" if lane.age_s != lane.age_s else f"{lane.age_s:.0f} s old"
    return (
        f"queue {lane.queue_veh:.1f} veh, {lane.coming_veh:.1f} veh to come, "
        f"{S_PER_H * lane.flow_vps:.0f} veh/h; confidence {lane.confidence:.2f}, {age}"
    )


def _sensor(sensor: SensorSeen) -> str:
    name = f"{sensor.kind.replace('_', ' ')} {sensor.sensor}"
    first, second = sensor.reading
    if sensor.dead:
        return f"{name}: dead"
    if first != first and second != second:
        return f"{name}: silent" + (
            "" if sensor.age_s != sensor.age_s else f" for {sensor.age_s:.0f} s"
        )
    if sensor.kind == "camera":
        told = f"{first:g} in view, {second:g} standing"
    else:
        told = f"{first:g} came, covered for {100 * second:.0f} % of the tick"
    return f"{name}: {told}, unchanged for {sensor.age_s:.0f} s"
