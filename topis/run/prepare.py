"""The work folder of a replay: streets cut into groups, and what all shards need, made once.

::

    job.json              what is to be done (`topis.run.shards.Job`)
    inputs.json           fingerprints of all that is read
    run/                  the streets the run folder will be about, and their numbers
    group-000/            streets of a group of junctions, with a ring of others around them
    shards/               what is done
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from topis.errors import InputError, OutputError
from topis.estimation.estimator import WARM_UP_MS
from topis.ingest.archive_files import ArchiveFiles
from topis.ingest.dimensions import FILE as DIMENSIONS
from topis.ingest.observe import Keys
from topis.ingest.places import FILE as PLACES
from topis.ingest.slices import ArchiveSlices
from topis.model.part import adjacent, with_neighbours
from topis.run.archive_run import (
    FAULTS_FROM_MS,
    Rhythm,
    SliceOptions,
    names_of,
    require_rows,
    with_eyes,
)
from topis.run.selection import Districts, Selection, groups, select
from topis.run.shards import Job, Shard, group_folder, save_keys, shards_of
from topis.run.streets import PART, OwnPart, Streets, link_owners, part_of
from topis.units import MS_PER_HOUR

#: Feeds that are read whatever is looked at.
ALWAYS = ("signal_event",)


@dataclass(frozen=True)
class Prepared:
    """A work folder that is ready, and its shards."""

    work: Path
    job: Job
    shards: list[Shard]
    inputs: dict[str, str]
    hours_without: dict[str, dict[str, list[int]]]
    districts: list[int]


def prepare(
    work: Path,
    options: SliceOptions,
    selection: Selection,
    controller: str,
    settings: dict[str, float],
    *,
    decides: bool,
    group_junctions: int,
) -> Prepared:
    """Make the work folder; what an earlier call for the very same left done stays done.

    Raises
    ------
    InputError, NetworkError
        The archive, network, sensors or what is selected cannot be used.
    OutputError
        The folder cannot be written.
    """
    options.check()
    files = ArchiveFiles(options.archive)
    whole = with_eyes(Streets.read(options.network_file, options.sensor_file), options)
    districts = Districts(files)
    own = select(selection, whole.network, options.network_file, districts)
    owners = link_owners(whole.network)
    run_streets, run_part = part_of(whole, own, own, owners)
    around = sorted(districts.around(run_streets.network, run_streets.sensors))
    slices = ArchiveSlices(files, around)
    require_rows(slices, options)
    local = "://" not in str(options.archive)
    job = Job(
        str(Path(options.archive).absolute()) if local else str(options.archive),
        str(options.network_file.absolute()),
        str(options.sensor_file.absolute()), options.begin_ms, options.end_ms,
        tuple(sorted(options.feeds)), controller if decides else "shipped",
        settings if decides else {}, decides, Rhythm.of(slices, options),
    )  # fmt: skip
    slices.close()
    pairs = adjacent(whole.network)
    members = groups(own, districts.of_junctions(whole.network), group_junctions)
    rings = [with_neighbours(whole.network, pairs, group) for group in members]
    parts = [
        part_of(whole, ring, group, owners) for ring, group in zip(rings, members, strict=True)
    ]
    read = [sorted(districts.around(streets.network, streets.sensors)) for streets, _ in parts]
    inputs = fingerprints(files, options, sorted(set().union(*map(set, read))))
    prepared = Prepared(
        work, job, shards_of(options.begin_ms, options.end_ms, len(members)), inputs,
        _missing(files, options, around),
        around,
    )  # fmt: skip
    key = {"inputs": inputs, "groups": [group.tolist() for group in members]}
    if _is_the_same(work, job, key):
        return prepared
    names, all_keys = names_of(files), None
    try:
        shutil.rmtree(work, ignore_errors=True)
        (work / "shards").mkdir(parents=True)
        _save(work / "run", _paced(run_streets, job.rhythm), run_part)
        for number, (streets, part) in enumerate(parts):
            folder = group_folder(work, number)
            _save(folder, streets, part)
            keys = Keys.of(names, streets.network, streets.sensors)
            if len(part.junctions) < whole.network.junctions:
                all_keys = all_keys or Keys.of(names, whole.network, whole.sensors)
                keys = keys.within(all_keys)
            save_keys(folder, keys)
            (folder / "districts.json").write_text(json.dumps(read[number]))
        (work / "inputs.json").write_text(json.dumps(key, sort_keys=True))
        # Last: without it the folder is not whole.
        job.save(work / "job.json")
    except OSError as error:
        raise OutputError(f"{work.parent}: cannot be written ({error.strerror})") from None
    return prepared


def fingerprints(
    files: ArchiveFiles, options: SliceOptions, districts: list[int]
) -> dict[str, str]:
    """SHA-256 of every file that is read: of partitions their footers, of others all."""
    found = {
        str(path.name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (options.network_file, options.sensor_file)
    }
    for name in (DIMENSIONS, PLACES):
        text = files.text(name)
        if text is not None:
            found[name] = hashlib.sha256(text.encode()).hexdigest()
    slices = ArchiveSlices(files, districts)
    warm_ms = options.begin_ms - WARM_UP_MS
    for feed in (*sorted(options.feeds), *ALWAYS):
        from_ms = warm_ms - (FAULTS_FROM_MS if feed == "loop_event" else 0)
        for hour in range(from_ms // MS_PER_HOUR, -(-options.end_ms // MS_PER_HOUR)):
            for name in slices.names(feed, hour):
                try:
                    found[name] = files.fingerprint(name)
                except OSError as error:
                    found[name] = f"unreadable ({error})"
    return found


def _missing(
    files: ArchiveFiles, options: SliceOptions, districts: list[int]
) -> dict[str, dict[str, list[int]]]:
    """Hours without rows, by feed and district; ``all`` where there are none in any.

    What has no place is in district 0, which may well be empty.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for feed in (*sorted(options.feeds), *ALWAYS):
        there = {hour: set(files.districts(feed, hour)) for hour in options.hours}
        none = [hour for hour in options.hours if there[hour].isdisjoint(districts)]
        if none:
            found.setdefault(feed, {})["all"] = none
        for district in districts:
            hours = [h for h in options.hours if h not in none and district not in there[h]]
            if hours and district:
                found.setdefault(feed, {})[str(district)] = hours
    return found


def _is_the_same(work: Path, job: Job, key: dict[str, Any]) -> bool:
    try:
        stored = json.loads((work / "inputs.json").read_text())
        return bool(Job.load(work / "job.json") == job and stored == key)
    except (InputError, OSError, ValueError):
        return False


def _paced(streets: Streets, rhythm: Rhythm) -> Streets:
    """With what is known of its probes."""
    return replace(streets, sensors=rhythm.applied(streets.sensors))


def _save(folder: Path, streets: Streets, part: OwnPart) -> None:
    folder.mkdir()
    streets.save(folder)
    part.save(folder / PART)
