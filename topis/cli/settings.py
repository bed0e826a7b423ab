"""`--set NAME=NUMBER`: settings of a controller."""

from __future__ import annotations

from topis.errors import InputError


def setting_pairs(pairs: tuple[str, ...]) -> dict[str, float]:
    """Numbers by name.

    Raises
    ------
    InputError
        A pair is no NAME=NUMBER.
    """
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        try:
            values[name] = float(text)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"--set {pair}: expected NAME=NUMBER, for example --set interval_s=5")
    return values
