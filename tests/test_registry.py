from __future__ import annotations

import pytest

from leads.errors import SettingsError, UnknownNameError
from leads.registry import Registry


def test_unknown_name_offers_the_nearest() -> None:
    things: Registry[int] = Registry("thing")
    things.register("gray_scott")(1)
    with pytest.raises(UnknownNameError, match="Did you mean 'gray_scott'"):
        things["grey_scot"]
    with pytest.raises(UnknownNameError, match="Known: gray_scott"):
        things["zzz"]


def test_duplicates_are_refused() -> None:
    things: Registry[int] = Registry("thing")
    things.register("a")(1)
    with pytest.raises(SettingsError, match="registered already"):
        things.register("a")(2)
    assert list(things) == ["a"]
    assert "a" in things
    assert len(things) == 1
