"""Sources into the archive: each staged whole, then all merged; a kill in between costs no row."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from topis.errors import InputError, OutputError
from topis.ingest.adapters.mapping import Mapping
from topis.ingest.adapters.registry import adapter_for
from topis.ingest.archive import (
    CONTRADICTION,
    StagedSource,
    clean,
    known_sources,
    merge,
    partitions,
    staged_sources,
    taken_in,
)
from topis.ingest.checks import check_rows
from topis.ingest.dimensions import Dimensions
from topis.ingest.matching import GpsMatching
from topis.ingest.places import Places
from topis.ingest.pseudonyms import Pseudonyms
from topis.model.schemas import FEEDS

_READ_BYTES = 1 << 20
#: Held by who writes; tells an archive from any other folder.
LOCK = ".lock"

#: Told of progress: what is done, steps done, of how many.
Progress = Callable[[str, int, int], None]


@dataclass
class SourceReport:
    """What became of one source. ``read = rows + quarantined + duplicates``, always."""

    file: str
    read: int = 0
    rows: int = 0
    duplicates: int = 0
    quarantined: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    known: bool = False


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
    with _alone(archive):
        clean(archive)
        dimensions = Dimensions(archive)
        pseudonyms = Pseudonyms(secret_file or archive.with_name(f"{archive.name}.secret"))
        places = Places(places_file, dimensions)
        matching = GpsMatching(network_file, dimensions) if network_file else None
        known = set(known_sources(archive)) | set(staged_sources(archive))
        marks: dict[str, SourceReport] = {}
        for number, (path, adapter) in enumerate(adapters):
            progress(f"reading {path.name}", number, len(adapters))
            try:
                mark = fingerprint(path, adapter.name, mapping_file)
            except InputError as error:
                failures.append(str(error))
                continue
            report = marks.setdefault(mark, SourceReport(str(path)))
            if mark in known:
                report.known = True
                continue
            known.add(mark)
            staged = StagedSource(archive, mark)
            if matching is not None:
                matching.begin()
            try:
                for parsed in adapter.read(path):
                    if parsed.rows is not None:
                        table, rejects = check_rows(parsed.rows, dimensions, pseudonyms)
                        if matching is not None and parsed.rows.feed == "gps":
                            table = matching.fill(table)
                        feed = FEEDS[parsed.rows.feed]
                        staged.add(feed, table, places.of(feed, table))
                        staged.refuse(parsed.rows.feed, rejects)
                    name = parsed.rows.feed if parsed.rows is not None else ""
                    staged.refuse(name, parsed.rejects)
            except InputError as error:
                # The others are taken in all the same.
                staged.abandon()
                known.discard(mark)
                del marks[mark]
                failures.append(str(error))
                continue
            except BaseException:
                staged.abandon()
                raise
            # Keys must last before the rows that use them.
            dimensions.save()
            report.reasons = staged.reasons()
            staged.commit(str(path), {"format": adapter.name, "reasons": dict(report.reasons)})
        for done, total, partition in merge(archive):
            progress(f"merging {partition.name}", done, total)
        _complete(archive, marks)
    if failures:
        taken = f"; the other {len(marks)} sources are in the archive" if marks else ""
        more = f" (and {len(failures) - 1} more bad ones)" if len(failures) > 1 else ""
        raise InputError(f"{failures[0]}{more}{taken}")
    return list(marks.values())


def _complete(archive: Path, marks: dict[str, SourceReport]) -> None:
    """Fill the reports with what the archive says of their sources."""
    sources = known_sources(archive)
    for mark, report in marks.items():
        facts = sources[mark]
        report.quarantined = int(str(facts["quarantined"]))
        report.read = int(str(facts["rows"])) + report.quarantined
        reasons = facts.get("reasons")
        report.reasons = Counter(reasons if isinstance(reasons, dict) else {})
    for _, path in partitions(archive):
        for mark, counts in taken_in(path).items():
            if mark in marks:
                marks[mark].rows += counts["rows"]
                marks[mark].duplicates += counts["duplicates"]
                marks[mark].quarantined += counts["contradictions"]
                if counts["contradictions"]:
                    marks[mark].reasons[CONTRADICTION] += counts["contradictions"]


def fingerprint(path: Path, form: str, mapping_file: Path | None) -> str:
    """What tells sources apart: content, format, mapping, and the file's name.

    The name, because some formats tell their time nowhere else.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    digest = hashlib.blake2b(form.encode() + b"\0" + os.fsencode(path.name), digest_size=12)
    try:
        for part in (mapping_file, path):
            digest.update(b"\0")
            if part is not None:
                with part.open("rb") as file:
                    while block := file.read(_READ_BYTES):
                        digest.update(block)
    except OSError as error:
        raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None
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
