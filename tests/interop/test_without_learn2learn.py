"""What is said where learn2learn, or something that it imports, is not there."""

from __future__ import annotations

import sys

import pytest

import leads
from leads.errors import SettingsError
from leads.interop.learn2learn import learner
from leads.trajectories import DataSplits


def test_it_is_not_installed(data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "learn2learn", None)
    with pytest.raises(SettingsError, match=r"tools/install_learn2learn\.sh"):
        learner(leads.build("maml", data.train))


def test_something_that_it_imports_is_not_installed(
    data: DataSplits, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    class Broken:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "learn2learn":
                raise ModuleNotFoundError("No module named 'gym'", name="gym")

    monkeypatch.delitem(sys.modules, "learn2learn", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken, *sys.meta_path])
    with pytest.raises(SettingsError, match=r"pip install .*gym"):
        learner(leads.build("maml", data.train))
