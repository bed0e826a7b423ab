"""The floors of the house: who may import whom, and who may read a clock or drive SUMO.

Every import counts, wherever it stands in a file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import topis

ROOT = Path(topis.__file__).parent
FLOORS = {
    "model": 0, "errors": 0, "units": 0, "clock": 0, "config": 0,
    "_core": 1,
    "ingest": 2, "estimation": 2,
    "control": 3,
    "safety": 4,
    "report": 5, "run": 5,
    "cli": 6, "__init__": 6, "__main__": 6,
}  # fmt: skip
GROUND, FACE = 0, 6
#: On one floor, yet allowed one way.
MAY_SEE = {("run", "report")}
#: Below, yet forbidden.
NEVER = {("control", "ingest"), ("safety", "control")}
SIMULATOR = {"libsumo", "traci"}
CLOCKS = {"time", "datetime"}

MODULES = sorted(ROOT.rglob("*.py"))
KERNELS = sorted(p for p in (ROOT / "_core").iterdir() if p.suffix in (".pyx", ".pxd", ".pyi"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path) for path in MODULES} | {
    f"topis._core.{path.stem}" for path in KERNELS if path.suffix == ".pyx"
}


def package(name: str) -> str:
    """Name of the entry in `FLOORS` a module belongs to: topis.run.sumo -> run."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(source: str, module: str) -> Iterator[tuple[str, int]]:
    """Modules a source imports, and the line; relative imports are resolved."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, base] if base else above)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield (whole if whole in NAMES or base in SIMULATOR else base), node.lineno


IMPORTS = {
    path: list(imports_of(path.read_text(encoding="utf-8"), module_name(path))) for path in MODULES
}


def everywhere() -> Iterator[tuple[Path, str, str]]:
    """(file, where, imported module) of the whole package."""
    for path, imports in IMPORTS.items():
        for name, line in imports:
            yield path, f"{path.relative_to(ROOT.parent)}:{line}", name


def test_every_file_has_a_floor() -> None:
    assert {package(module_name(path)) for path in MODULES} <= set(FLOORS)
    assert len(MODULES) > 20


def forbidden(importer: str, imported: str) -> bool:
    here, there = package(importer), package(imported)
    if here == there or FLOORS[here] == FLOORS[there] in (GROUND, FACE):
        return False
    if (here, there) in NEVER:
        return True
    return FLOORS[here] <= FLOORS[there] and (here, there) not in MAY_SEE


def test_files_import_only_from_floors_below() -> None:
    faults = [
        f"{where}: {name}"
        for path, where, name in everywhere()
        if name.split(".")[0] == "topis" and forbidden(module_name(path), name)
    ]
    assert not faults, "\n".join(faults)


def test_nothing_is_imported_that_does_not_exist() -> None:
    faults = [
        f"{where}: {name}"
        for _, where, name in everywhere()
        if name.split(".")[0] == "topis" and name not in NAMES
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.name)
def test_kernels_import_nothing_of_topis(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    own = {p.stem for p in KERNELS if p.suffix == ".pxd"}
    for line in re.findall(r"^\s*(?:cimport|import|from|include)\b.*$", text, re.MULTILINE):
        assert "include" not in line.split(), line
        assert not re.search(r"\bcimport\s+numpy|\bfrom\s+numpy\s+cimport", line), line
        named = re.search(r"topis(?:\._core)?\.(\w+)|(?:from|cimport)\s+\.(\w*)", line)
        if named:
            assert "cimport" in line, line
            assert (named.group(1) or named.group(2)) in own, line


def test_no_import_goes_in_a_circle() -> None:
    edges = {
        module_name(path): sorted(
            {name for name, _ in imports if name in NAMES and name != module_name(path)}
        )
        for path, imports in IMPORTS.items()
    }
    done: set[str] = set()
    trail: list[str] = []

    def visit(name: str) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        trail.append(name)
        for following in edges.get(name, ()):
            visit(following)
        trail.pop()
        done.add(name)

    for name in edges:
        visit(name)


def test_only_sumo_py_drives_the_simulator() -> None:
    faults = []
    for path, where, name in everywhere():
        place = path.relative_to(ROOT).as_posix()
        if name.split(".")[0] not in SIMULATOR or place == "run/sumo.py":
            continue
        if place == "run/sumo_sensors.py" and name == "traci.constants":
            continue
        faults.append(f"{where}: {name}")
    assert not faults, "\n".join(faults)


def test_only_clock_py_reads_a_clock() -> None:
    faults = [
        f"{where}: {name}"
        for path, where, name in everywhere()
        if name.split(".")[0] in CLOCKS and path != ROOT / "clock.py"
    ]
    assert not faults, "\n".join(faults)


# ---- the rules themselves ----


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("topis.model.network", "topis._core.interlock"),
        ("topis.estimation.estimator", "topis.ingest.compile"),
        ("topis.ingest.compile", "topis.estimation.estimator"),
        ("topis.control.actuated", "topis.ingest.compile"),
        ("topis.control.actuated", "topis.safety.guard"),
        ("topis.safety.guard", "topis.control.service"),
        ("topis.report.html", "topis.run.loop"),
        ("topis.run.loop", "topis.cli.main"),
        ("topis.run.loop", "topis"),
    ],
)
def test_the_rules_forbid(importer: str, imported: str) -> None:
    assert forbidden(importer, imported)


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("topis.run.simulate", "topis.report.journal"),
        ("topis.control.actuated", "topis.control.service"),
        ("topis.model.network", "topis.errors"),
        ("topis.safety.guard", "topis._core.interlock"),
        ("topis.cli.main", "topis"),
    ],
)
def test_the_rules_allow(importer: str, imported: str) -> None:
    assert not forbidden(importer, imported)


def test_imports_are_found_wherever_they_stand() -> None:
    source = (
        "from . import loop\ndef f():\n    import traci.constants as tc\n    from time import sleep"
    )
    assert list(imports_of(source, "topis.run.sumo")) == [
        ("topis.run.loop", 1),
        ("traci.constants", 3),
        ("time", 4),
    ]
