"""What a ``.sumocfg`` says that TOPIS must know, read without starting SUMO."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from topis.errors import InputError

#: SUMO's option names and the abbreviations it accepts in configuration files.
_NET = ("net-file", "net", "n")
_ADDITIONAL = ("additional-files", "additional", "a")
_TRIPINFO = ("tripinfo-output", "tripinfo")
_STEP = ("step-length",)
_ROUTES = ("route-files", "routes", "r")


@dataclass(frozen=True)
class SumoConfig:
    """Paths are absolute. ``tripinfo``: where the scenario itself writes trip data, if it does."""

    path: Path
    net_file: Path
    additional_files: tuple[Path, ...] = ()
    tripinfo: Path | None = None
    step_s: float = 1.0
    options: dict[str, str] = field(default_factory=dict)


def read_sumocfg(path: Path) -> SumoConfig:
    """Read a SUMO configuration.

    Raises
    ------
    InputError
        The file is missing or not a configuration, or a file it names is missing.
    """
    options = _options(path)
    folder = path.resolve().parent
    net = _first(options, _NET)
    if net is None:
        raise InputError.at(path, "names no net-file", "add <net-file value=.../> to its input")
    config = SumoConfig(
        path=path.resolve(),
        net_file=_resolve(folder, net),
        additional_files=tuple(_resolve(folder, p) for p in _list(_first(options, _ADDITIONAL))),
        tripinfo=_maybe(folder, _first(options, _TRIPINFO)),
        step_s=_number(path, _first(options, _STEP), 1.0),
        options=options,
    )
    inputs = [config.net_file, *config.additional_files]
    inputs += [_resolve(folder, p) for p in _list(_first(options, _ROUTES))]
    for needed in inputs:
        if not needed.is_file():
            raise InputError.at(
                path, f"names {needed.name}, which is not at {needed}", "correct the path"
            )
    return config


def _options(path: Path) -> dict[str, str]:
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        root = ElementTree.fromstring(raw)
    except FileNotFoundError:
        raise InputError.at(path, "no such file", "check the path") from None
    except (OSError, EOFError) as error:
        raise InputError.at(path, f"cannot be read ({error})", "check the file") from None
    except ElementTree.ParseError as error:
        raise InputError.at(path, f"not well-formed XML ({error})", "check the file") from None
    if root.tag not in ("configuration", "sumoConfiguration"):
        raise InputError.at(
            path, f"root element is <{root.tag}>, expected <configuration>", "hand over a .sumocfg"
        )
    options: dict[str, str] = {}
    for element in root.iter():
        value = element.get("value", element.get("v"))
        if value is not None:
            options[element.tag] = value
    return options


def _first(options: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((options[name] for name in names if name in options), None)


def _list(value: str | None) -> list[str]:
    return [part.strip() for part in (value or "").replace(";", ",").split(",") if part.strip()]


def _resolve(folder: Path, name: str) -> Path:
    path = Path(name)
    return path if path.is_absolute() else (folder / path).resolve()


def _maybe(folder: Path, name: str | None) -> Path | None:
    return None if name is None else _resolve(folder, name)


def _number(path: Path, value: str | None, default: float) -> float:
    try:
        return default if value is None else float(value)
    except ValueError:
        raise InputError.at(path, f"step-length is {value!r}", "give seconds") from None
