"""Checks of the arguments of systems and families."""

from __future__ import annotations

from operator import index
from typing import Any

from leads.errors import SettingsError


def whole(name: str, value: Any, least: int, reason: str = "") -> int:
    """``value`` as an int.

    Args:
        name: of the argument, for the message.
        value: an int, or what stands for one (NumPy's integers); neither a float nor a bool.
        least: the smallest that will do.
        reason: why no less will do.

    Raises:
        SettingsError: anything else.
    """
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        because = f" ({reason})" if reason else ""
        raise SettingsError(f"{name} must be a whole number of at least {least}{because}, got {value!r}.")
    return number


def points(name: str, value: Any, highest: float, share: int, reason: str, even: bool = False) -> int:
    """``value`` as a number of points that resolves ``highest``, a mode number below ``1 / share`` of the points.

    A ``share`` of 2 is Nyquist's limit, 3 that of the 2/3 rule; arguments and errors else as for :func:`whole`.
    """
    least = int(highest * share + 1e-9) + 1
    least += least % 2 if even else 0
    number = whole(name, value, least, reason)
    if even and number % 2:
        raise SettingsError(f"{name} must be even, got {number}.")
    return number
