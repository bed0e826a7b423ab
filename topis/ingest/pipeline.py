"""Sources into the archive: each staged whole, then all merged; a kill in between costs no row."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from topis.errors import InputError, OutputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.registry import adapter_for
from topis.ingest.archive import (
    CONTRADICTION,
    clean,
    known_sources,
    networks_in,
    open_partition,
    parts_of,
    staged_sources,
    taken_in,
)
from topis.ingest.arrival import Arrivals
from topis.ingest.checks import check_rows
from topis.ingest.dimensions import Dimensions
from topis.ingest.matching import GpsMatching, Spool
from topis.ingest.merging import merge
from topis.ingest.places import Places
from topis.ingest.pseudonyms import Pseudonyms
from topis.ingest.rows import Adapter
from topis.ingest.settled import Settled, file_hash
from topis.ingest.staging import StagedSource
from topis.model.schemas import FEEDS

#: Held by who writes; tells an archive from any other folder.
LOCK = ".lock"

#: Told of progress: what is done, steps done, of how many.
Progress = Callable[[str, int, int], None]


@dataclass
class SourceReport:
    """What became of one source. ``read = rows + quarantined + duplicates``, always.

    ``late``, ``unordered``, ``skewed``, ``jumps``: rows that are no worse than doubtful
    (`topis.model.quality`); ``skews``: by feed and entity, how far its clock is off (ms).
    ``known``: it was in the archive already; ``again``: and yet something was missing of it.
    """

    file: str
    read: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    late: int = 0
    unordered: int = 0
    skewed: int = 0
    jumps: int = 0
    skews: dict[str, dict[str, int]] = field(default_factory=dict)
    known: bool = False
    again: bool = False


def ingest(
    sources: list[Path],
    archive: Path,
    *,
    mapping_file: Path | None = None,
    form: str | None = None,
    secret_file: Path | None = None,
    network_file: Path | None = None,
    places_file: Path | None = None,
    progress: Progress = lambda *_: None,
) -> list[SourceReport]:
    """Take sources into an archive; what is in it already is passed over.

    ``mapping_file``: columns of CSV and JSON lines; ``form``: name of the adapter where the
    file's name does not tell; ``secret_file``: where the secret of the pseudonyms lies, beside
    the archive by default; ``network_file``: SUMO network whose links probes are matched to;
    ``places_file``: which district what lies in (`topis.ingest.places`).

    Raises
    ------
    InputError
        A source that no adapter reads, or that cannot be read at all; the others are in the
        archive then.
    OutputError
        The archive cannot be written, or another process is writing it.
    """
    mapping = Mapping.read(mapping_file) if mapping_file else None
    adapters = [(path, adapter_for(path, mapping, form)) for path in sources]
    try:
        archive.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{archive}: cannot be written ({error.strerror}); choose another --into"
        raise OutputError(message) from None
    archive = archive.resolve()
    if any(archive.iterdir()) and not (archive / LOCK).exists():
        raise OutputError(f"{archive}: is neither empty nor an archive; choose another --into")
    _allow_many_files()
    failures: list[str] = []
    marks: dict[str, SourceReport] = {}
    with _alone(archive):
        clean(archive)
        intake = _Intake(archive, secret_file, network_file, places_file)
        known = known_sources(archive)
        staged = set(staged_sources(archive))
        for number, (path, adapter) in enumerate(adapters):
            progress(f"reading {path.name}", number, len(adapters))
            try:
                mark = fingerprint(path, adapter.name, mapping_file)
                if mark in marks:
                    continue
                report = SourceReport(str(path))
                report.known = mark in staged or mark in known
                report.again = (
                    mark in known and mark not in staged and intake.lacks(mark, known[mark])
                )
                if not report.known or report.again or intake.other_network(mark, staged):
                    intake.stage(path, adapter, mark)
                marks[mark] = report
            except InputError as error:
                # The others are taken in all the same.
                failures.append(str(error))
        for done, total, partition in merge(archive):
            progress(f"merging {partition.name}", done, total)
        _complete(archive, marks)
    if failures:
        taken = f"; the other {len(marks)} sources are in the archive" if marks else ""
        more = f" (and {len(failures) - 1} more bad ones)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}{taken}")
    return list(marks.values())


class _Intake:
    """All that a source goes through on its way to being staged."""

    def __init__(
        self,
        archive: Path,
        secret_file: Path | None,
        network_file: Path | None,
        places_file: Path | None,
    ) -> None:
        self._archive = archive
        self._settled = Settled(archive)
        self._dimensions = Dimensions(archive)
        secret = secret_file or archive.with_name(f"{archive.name}.secret")
        self._pseudonyms = Pseudonyms(secret, self._settled)
        self._places = Places(places_file, self._dimensions, archive)
        self._network = file_hash(network_file) if network_file else ""
        self._matching = GpsMatching(network_file, self._dimensions) if network_file else None

    def lacks(self, mark: str, facts: dict[str, object]) -> bool:
        """Whether rows of a source that was taken in are lost, or were not matched as now."""
        for partition in parts_of(facts):
            path = self._archive / partition.file
            try:
                if not path.exists() or mark not in taken_in(path):
                    return True
                if partition.feed == "gps" and self._network:
                    with open_partition(path) as file:
                        if networks_in(file).get(mark) != self._network:
                            return True
            except InputError:
                return True
        return False

    def other_network(self, mark: str, staged: set[str]) -> bool:
        """Whether a source that a killed call has staged was matched otherwise, or not at all."""
        if mark not in staged or not self._network:
            return False
        facts = json.loads((self._archive / "_staging" / mark / "source.json").read_text())
        has_probes = any(partition.feed == "gps" for partition in parts_of(facts))
        return has_probes and facts["network"] != self._network

    def stage(self, path: Path, adapter: Adapter, mark: str) -> None:
        """Read, check, match and mark a source's rows.

        Raises
        ------
        InputError
            It cannot be read; nothing is left of it then.
        """
        staged = StagedSource(self._archive, mark, str(path))
        arrivals = Arrivals()
        network = ""
        spool = Spool(staged.scratch("probes.spool"))
        try:
            for parsed in adapter.read(path):
                name = ""
                if parsed.rows is not None:
                    name = parsed.rows.feed
                    feed = FEEDS[name]
                    table, rejects = check_rows(parsed.rows, self._dimensions, self._pseudonyms)
                    table = arrivals.marked(feed, table)
                    if name == "gps":
                        network = self._network
                        self._settle_network()
                    if name == "gps" and self._matching is not None:
                        spool.add(table)
                    else:
                        staged.add(feed, table, self._places.of(feed, table))
                    staged.refuse(name, rejects)
                staged.refuse(name, parsed.rejects)
            self._match(spool, staged)
        except BaseException:
            staged.abandon()
            raise
        # Keys must last before the rows that use them.
        self._dimensions.save()
        skews, skewed = arrivals.skews()
        counts = {"late": arrivals.late, "unordered": arrivals.unordered, "skewed": skewed}
        staged.commit({"format": adapter.name, "network": network, "marks": counts, "skews": skews})

    def _match(self, spool: Spool, staged: StagedSource) -> None:
        """The source's probes in order of time, with their links."""
        if self._matching is None:
            return
        self._matching.begin()
        for table in spool.tables():
            table = self._matching.fill(table)
            staged.add(FEEDS["gps"], table, self._places.of(FEEDS["gps"], table))

    def _settle_network(self) -> None:
        """A probe's district is its link's: with other links it would be stored twice."""
        if self._places.has("links"):
            self._settled.keep(
                "network",
                self._network,
                f"{self._archive}: its districts follow the links of another network, or of none; "
                "name that one with --network, or a new archive with --into",
            )


def _complete(archive: Path, marks: dict[str, SourceReport]) -> None:
    """Fill the reports with what the archive says of their sources."""
    sources = known_sources(archive)
    parts: dict[Path, list[str]] = {}
    for mark, report in marks.items():
        facts: dict[str, Any] = sources[mark]
        report.quarantined = facts["quarantined"]
        report.read = facts["rows"] + report.quarantined
        report.reasons = Counter(facts["reasons"])
        report.late, report.unordered, report.skewed, report.jumps = (
            facts["marks"][name] for name in ("late", "unordered", "skewed", "jumps")
        )
        report.skews = facts["skews"]
        for partition in parts_of(facts):
            parts.setdefault(archive / partition.file, []).append(mark)
    for path, of in parts.items():
        taken = taken_in(path)
        for mark in of:
            marks[mark].rows += taken[mark]["rows"]
            marks[mark].duplicates += taken[mark]["duplicates"]
            contradictions = taken[mark]["contradictions"]
            marks[mark].quarantined += contradictions
            if contradictions:
                marks[mark].reasons[CONTRADICTION] += contradictions


def fingerprint(path: Path, form: str, mapping_file: Path | None) -> str:
    """What tells sources apart: content, format, mapping, and the file's name.

    The name, because some formats tell their time nowhere else.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    digest = hashlib.blake2b(form.encode() + b"\0" + os.fsencode(path.name), digest_size=12)
    for part in (mapping_file, path):
        digest.update(b"\0" + (file_hash(part).encode() if part is not None else b""))
    return digest.hexdigest()


def _allow_many_files() -> None:
    """A staged source keeps a file open for each partition: as many as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def _alone(archive: Path) -> Iterator[None]:
    """Only one process writes an archive; the lock goes with the process."""
    with (archive / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(
                f"{archive}: another ingest is writing it; wait until it is done"
            ) from None
        yield
