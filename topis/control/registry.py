"""Controllers by name."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from topis.control.actuated import Actuated, ActuatedSettings
from topis.control.adaptive import Adaptive, AdaptiveSettings
from topis.control.city import City, CitySettings
from topis.control.cosmos import Cosmos, CosmosSettings
from topis.control.max_pressure import (
    CyclicMaxPressure,
    CyclicSettings,
    MaxPressure,
    MaxPressureSettings,
)
from topis.control.protocol import Controller
from topis.control.shipped import Shipped
from topis.control.webster import Webster, WebsterSettings
from topis.errors import InputError
from topis.model.network import Network


@dataclasses.dataclass(frozen=True)
class _NoSettings:
    """For controllers without any."""


_Maker = Callable[[Network, Any], Controller]
_CONTROLLERS: dict[str, tuple[type, _Maker, str]] = {
    "adaptive": (AdaptiveSettings, Adaptive, "rolling-horizon search at every junction"),
    "city": (CitySettings, City, "adaptive for cities: sub-areas, living plans, gates, library"),
    "shipped": (_NoSettings, lambda n, _: Shipped(n), "the programs as they are"),
    "cosmos": (CosmosSettings, Cosmos, "cycle, splits, offsets stepped once a cycle"),
    "webster": (WebsterSettings, Webster, "re-timed from counts: cycle, splits, offsets"),
    "actuated": (ActuatedSettings, Actuated, "gap-out and max-out on our sensors"),
    "max-pressure": (MaxPressureSettings, MaxPressure, "acyclic max-pressure, lost time weighed"),
    "max-pressure-cyclic": (
        CyclicSettings,
        CyclicMaxPressure,
        "max-pressure splits in the shipped stage order",
    ),
}


def controller_names() -> dict[str, str]:
    """Name and one line of explanation of every controller."""
    return {name: text for name, (_, _, text) in _CONTROLLERS.items()}


def check_controller(name: str, settings: Mapping[str, float] | None = None) -> None:
    """Check a name and settings before any work is done.

    Raises
    ------
    InputError
        Unknown name or setting, value not finite or out of range.
    """
    if name not in _CONTROLLERS:
        raise InputError(f"controller {name!r} is unknown; choose one of {', '.join(_CONTROLLERS)}")
    fields = {f.name: f for f in dataclasses.fields(_CONTROLLERS[name][0])}
    for key, value in (settings or {}).items():
        if key not in fields:
            known = ", ".join(fields) or "none"
            raise InputError(f"controller {name}: setting {key!r} is unknown; known are {known}")
        low, high = fields[key].metadata["low"], fields[key].metadata["high"]
        if not math.isfinite(value) or not low <= value <= high:
            raise InputError(f"controller {name}: {key} is {value}; give {low} to {high}")


def make_controller(
    name: str, network: Network, settings: Mapping[str, float] | None = None
) -> Controller:
    """Build a controller with some of its settings changed.

    Raises
    ------
    InputError
        See `check_controller`.
    """
    check_controller(name, settings)
    kind, maker, _ = _CONTROLLERS[name]
    return maker(network, kind(**(settings or {})))
