"""Colours of ocean maps: cmocean's where it is installed, the nearest of matplotlib's else."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from leads.errors import UnknownNameError
from leads.registry import nearest

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

Kind = Literal["height", "temperature", "speed", "error", "uncertainty", "vorticity"]

#: Of cmocean, of matplotlib, and whether the scale is symmetric about zero.
MAPS: dict[str, tuple[str, str, bool]] = {
    "height": ("balance", "RdBu_r", True),
    "temperature": ("thermal", "inferno", False),
    "speed": ("speed", "YlGn", False),
    "error": ("diff", "PuOr_r", True),
    "uncertainty": ("amp", "OrRd", False),
    "vorticity": ("curl", "BrBG", True),
}
LAND = "#b4b4b4"


def colour_map(kind: Kind) -> Colormap:
    """The colours of a kind of field, transparent where a value is missing.

    Without cmocean a warning says once, in a line, what is drawn instead.

    Raises:
        UnknownNameError: unknown kind.
    """
    if kind not in MAPS:
        raise UnknownNameError(f"No kind of map is named {kind!r}. {nearest(str(kind), tuple(MAPS))}")
    return _colour_map(kind)


def is_symmetric(kind: Kind) -> bool:
    """Whether the colours of this kind are centred on zero."""
    colour_map(kind)
    return MAPS[kind][2]


@lru_cache(maxsize=16)
def _colour_map(kind: str) -> Colormap:
    import matplotlib

    ocean, plain, _ = MAPS[kind]
    try:
        from cmocean import cm
    except ImportError:
        _tell_once()
        chosen: Colormap = matplotlib.colormaps[plain]
    else:
        chosen = getattr(cm, ocean)
    return chosen.with_extremes(bad=(0, 0, 0, 0))


@lru_cache(maxsize=1)
def _tell_once() -> None:
    warnings.warn(
        "cmocean is not installed: maps use matplotlib's colours. pip install 'leads-dynamics[ocean]' brings it.",
        UserWarning,
        stacklevel=5,
    )
