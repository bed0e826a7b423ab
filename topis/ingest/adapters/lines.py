"""Text files line by line, in their encoding, and the records of CSV in them."""

from __future__ import annotations

import codecs
import collections
import csv
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from topis.errors import InputError
from topis.ingest.rows import Reject

_BLOCK_BYTES = 1 << 20
#: A field with more line breaks than this is taken for a quote that nobody closed.
_MOST_LINES = 100


@dataclass(frozen=True)
class CsvBlock:
    """Records: the number of each one's first line, and its text, of several lines perhaps."""

    line: Sequence[int]
    text: list[str]
    rejects: list[Reject]


def encoding_of(path: Path, encoding: str) -> str:
    """The encoding in which the whole file is text; ``auto``: UTF-8, else CP949.

    Raises
    ------
    InputError
        In none of them, or the file cannot be read.
    """
    for name in ("utf-8-sig", "cp949") if encoding == "auto" else (encoding,):
        try:
            decoder = codecs.getincrementaldecoder(name)()
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    decoder.decode(block)
                decoder.decode(b"", final=True)
        except OSError as error:
            raise InputError.at(path, f"cannot be read ({error.strerror})", "check it") from None
        except (UnicodeError, LookupError, TypeError):
            continue
        return name
    raise InputError.at(path, f"is not text in {encoding}", "name its encoding in the mapping")


def whole_text(path: Path) -> str:
    """A small file's text, in UTF-8 or CP949; its line breaks as newlines.

    Raises
    ------
    InputError
        It is in neither, or cannot be read.
    """
    return path.read_text(encoding=encoding_of(path, "auto"))


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """Lines without their breaks, whatever system wrote them."""
    with path.open(encoding=encoding_of(path, encoding)) as file:
        for line in file:
            yield line.removesuffix("\n")


class CsvLines:
    """A CSV's lines after the header, as records, a block at a time.

    A field in quotes may have line breaks. A quote that is not closed within a hundred lines, or
    that only another one closes, of a field further down, refuses its own line and no other.
    """

    def __init__(self, lines: Iterable[str], columns: int) -> None:
        self._source = iter(lines)
        self._columns = columns
        self._ahead: collections.deque[str] = collections.deque()
        self._line = 2

    def blocks(self, most: int) -> Iterator[CsvBlock]:
        """All records and refused lines, so many at a time."""
        while True:
            self._fill(most)
            if not self._ahead:
                return
            if any('"' in line for line in self._ahead):
                yield self._with_quotes(most)
                continue
            # A line a record: nothing to look at one by one.
            lines = list(self._ahead)
            self._ahead.clear()
            self._line += len(lines)
            yield CsvBlock(range(self._line - len(lines), self._line), lines, [])

    def _with_quotes(self, most: int) -> CsvBlock:
        numbers: list[int] = []
        texts: list[str] = []
        rejects: list[Reject] = []
        while self._ahead and len(texts) + len(rejects) < most:
            text = self._record()
            if text is None:
                rejects.append(Reject(self._line, "quote is not closed", "", self._ahead[0]))
            else:
                numbers.append(self._line)
                texts.append(text)
            taken = 1 if text is None else text.count("\n") + 1
            for _ in range(taken):
                self._ahead.popleft()
            self._line += taken
        return CsvBlock(numbers, texts, rejects)

    def _record(self) -> str | None:
        """The record that begins the next line; None where its quote is never closed."""
        lines = [self._ahead[0]]
        is_open = _left_open(lines[0], False)
        if not is_open:
            return lines[0]
        self._fill(_MOST_LINES + 1)
        for line in itertools.islice(self._ahead, 1, _MOST_LINES + 1):
            lines.append(line)
            is_open = _left_open(line, True)
            if not is_open:
                break
        text = "\n".join(lines)
        whole = not is_open and len(fields_of(text, strict=True)) == self._columns
        return text if whole else None

    def _fill(self, count: int) -> None:
        self._ahead.extend(itertools.islice(self._source, max(0, count - len(self._ahead))))


def fields_of(record: str, *, strict: bool = False) -> list[str]:
    """The fields of one record; ``strict``: none where a quote ends within a field."""
    try:
        return next(csv.reader(io.StringIO(record), strict=strict), [])
    except csv.Error:
        return []


def _left_open(line: str, is_open: bool) -> bool:
    """Whether a field in quotes goes on after the line; a quote within a bare field is a letter."""
    if '"' not in line:
        return is_open
    at = 0
    while True:
        if is_open:
            at = line.find('"', at)
            if at < 0:
                return True
            if line.startswith('""', at):
                at += 2
                continue
            is_open = False
            at += 1
        elif line.startswith('"', at):
            is_open = True
            at += 1
            continue
        at = line.find(",", at)
        if at < 0:
            return False
        at += 1
