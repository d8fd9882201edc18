"""Which seeds name a draw of data sets."""

from __future__ import annotations

from typing import SupportsIndex

import numpy as np

from leads.errors import SettingsError

#: Seeds from here on would draw training sets from the range in which validation sets begin.
SEEDS_END = 1000


def check_seed(seed: SupportsIndex) -> int:
    """The seed of a family's data sets, as a plain integer.

    Raises:
        SettingsError: it is no whole number from 0 to 999.
    """
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or not 0 <= seed < SEEDS_END:
        raise SettingsError(
            f"seed={seed!r} is no whole number from 0 to {SEEDS_END - 1}: every seed stands for a million of NumPy's, and "
            "beyond these a set would share trajectories with another set of another seed."
        )
    return int(seed)
