"""Scenarios by name: our own, RESCO's eight, or any ``.sumocfg``."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from topis.errors import InputError

RESCO = (
    "cologne1",
    "cologne3",
    "cologne8",
    "ingolstadt1",
    "ingolstadt7",
    "ingolstadt21",
    "grid4x4",
    "arterial4x4",
)
#: More folders to look for scenarios in, separated as PATH is.
ENVIRONMENT = "TOPIS_SCENARIOS"


def scenario_names() -> list[str]:
    """Every scenario that can be run by name here."""
    own = {
        path.parent.name
        for folder in _folders()
        for path in folder.glob("*/*.sumocfg")
        if path.stem == path.parent.name
    }
    return sorted(own) + ([f"resco:{name}" for name in RESCO] if _resco_folder() else [])


def find_scenario(name: str) -> Path:
    """The ``.sumocfg`` of a scenario given by path or name.

    Raises
    ------
    InputError
        There is no such file or scenario.
    """
    if name.startswith("resco:"):
        return _resco(name.removeprefix("resco:"))
    path = Path(name)
    if path.is_file():
        return path
    for folder in _folders():
        candidate = folder / name / f"{name}.sumocfg"
        if candidate.is_file():
            return candidate
    raise InputError(
        f"scenario {name!r}: no such file or name; hand over a .sumocfg or one of "
        f"{', '.join(scenario_names()) or 'none found here'}"
    )


def _folders() -> list[Path]:
    named = [Path(p) for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p]
    beside_package = Path(__file__).resolve().parents[2] / "scenarios"
    return [f for f in (*named, Path("scenarios"), beside_package) if f.is_dir()]


def _resco_folder() -> Path | None:
    """Where the sumo-rl wheel keeps RESCO's data; the package itself is never imported."""
    spec = importlib.util.find_spec("sumo_rl")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "nets" / "RESCO"
    return folder if folder.is_dir() else None


def _resco(name: str) -> Path:
    folder = _resco_folder()
    if folder is None:
        raise InputError(
            f"scenario resco:{name}: the sumo-rl wheel is not installed; "
            "pip install --no-deps sumo-rl (TOPIS only reads its data)"
        )
    path = folder / name / f"{name}.sumocfg"
    if name not in RESCO or not path.is_file():
        raise InputError(f"scenario resco:{name} is unknown; choose one of {', '.join(RESCO)}")
    return path
