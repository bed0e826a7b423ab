"""Benchmarks print one line `BENCH <name> <value> <unit>` per figure, for anyone to track."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_FIGURES: list[str] = []


@pytest.fixture
def figure() -> Callable[[str, float, str], None]:
    """Note a figure; all are printed at the end."""

    def note(name: str, value: float, unit: str) -> None:
        _FIGURES.append(f"BENCH {name} {value:.4g} {unit}")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("figures")
    for line in _FIGURES:
        terminalreporter.write_line(line)
