"""What a ``.sumocfg`` says that TOPIS must know, read without starting SUMO."""

from __future__ import annotations

import glob
import gzip
import os
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from topis.errors import InputError

#: SUMO's option names and the abbreviations it accepts in configuration files.
_NET = ("net-file", "net", "n")
_ADDITIONAL = ("additional-files", "additional", "a")
_TRIPINFO = ("tripinfo-output", "tripinfo")
_STEP = ("step-length",)
_MESO, _MESO_SIGNALS = ("mesosim",), ("meso-junction-control",)
_YES = ("true", "True", "1", "yes", "on", "t", "x")
_ROUTES = ("route-files", "routes", "r")
_OUTPUTS = ("-output", "tripinfo", "summary", "netstate", "-dump", "vehroutes", "vtk")
_LOGS = ("log", "message-log", "error-log", "save-state.times", "save-state.period")


@dataclass(frozen=True)
class SumoConfig:
    """Paths are absolute. ``tripinfo``: where the scenario itself writes trip data, if it does."""

    path: Path
    net_file: Path
    additional_files: tuple[Path, ...] = ()
    tripinfo: Path | None = None
    step_s: float = 1.0
    options: dict[str, str] = field(default_factory=dict)

    @property
    def meso(self) -> bool:
        """Whether the scenario asks for SUMO's mesoscopic model."""
        return _first(self.options, _MESO) in _YES

    def written(self, path: Path) -> Path:
        """Where SUMO really puts an output called ``path``: the scenario may want affixes."""
        prefix, suffix = self.options.get("output-prefix"), self.options.get("output-suffix")
        if not prefix and not suffix:
            return path
        stem, dot, ending = path.name.partition(".")
        name = glob.escape(f"{prefix or ''}{stem}{suffix or ''}{dot}{ending}")
        # SUMO replaces TIME by the time at which it started.
        found = path.parent.glob(name.replace("TIME", "*"))
        return max(found, key=lambda file: file.stat().st_mtime_ns, default=path)

    def writes_files(self) -> bool:
        """Whether the scenario writes files of its own, which runs side by side would share."""
        if any(name in _LOGS or name.endswith(_OUTPUTS) for name in self.options):
            return True
        named = rb"\b(?:file|dest|output)\s*=\s*[\"'](?!NUL[\"']|/dev/null[\"'])"
        return any(re.search(named, _read(path)) for path in self.additional_files)


def read_sumocfg(path: Path) -> SumoConfig:
    """Read a SUMO configuration.

    Raises
    ------
    InputError
        The file is missing or not a configuration, or a file it names is missing.
    """
    options = _options(path)
    folder = path.absolute().parent
    net = _first(options, _NET)
    if net is None:
        raise InputError.at(path, "names no net-file", "add <net-file value=.../> to its input")
    config = SumoConfig(
        path=path.absolute(),
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
    if config.meso and _first(options, _MESO_SIGNALS) not in _YES:
        raise InputError.at(
            path,
            "asks for the mesoscopic model without junction control: signals would have no effect",
            'add <meso-junction-control value="true"/>',
        )
    return config


def _options(path: Path) -> dict[str, str]:
    try:
        root = ElementTree.fromstring(_read(path))
    except FileNotFoundError:
        raise InputError.at(path, "no such file", "check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError.at(path, f"cannot be read ({error})", "check the file") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError.at(path, f"not well-formed XML ({error})", "check the file") from None
    if root.tag not in ("configuration", "sumoConfiguration"):
        raise InputError.at(
            path, f"root element is <{root.tag}>, expected <configuration>", "hand over a .sumocfg"
        )
    options: dict[str, str] = {}
    for element in root.iter():
        value = element.get("value", element.get("v"))
        if value is not None:
            options[element.tag] = re.sub(r"\$\{(\w+)\}", _environment, value)
    return options


def _read(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def _environment(name: re.Match[str]) -> str:
    return os.environ.get(name[1], "")


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
