"""Inert stand-ins for modules that learn2learn imports and our tests have no use for: images, games and downloads.

Run as a script, it runs another one with them: ``python tests/stand_ins.py SCRIPT ARGUMENTS``.
"""

from __future__ import annotations

import importlib.util
import runpy
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

ROOTS = ("gym", "requests", "torchvision", "tqdm")
REASON = "learn2learn is not installed: tools/install_learn2learn.sh builds it (C compiler and package index needed)"


class Inert(ModuleType):
    """Every name in it is a class that can be inherited from and called, and does nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **settings: None})


class Finder(MetaPathFinder, Loader):
    def __init__(self, roots: Sequence[str]) -> None:
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] in self.roots else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Inert(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def import_learn2learn() -> ModuleType | None:
    """learn2learn, or ``None`` where it is not installed.

    Stand-ins serve modules that are missing and are gone again afterwards, so that nobody else takes them for real.
    """
    if importlib.util.find_spec("learn2learn") is None:
        return None
    missing = [root for root in ROOTS if importlib.util.find_spec(root) is None]
    finder = Finder(missing)
    sys.meta_path.append(finder)
    try:
        import learn2learn
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, Inert)]:
            del sys.modules[name]
    return learn2learn


if __name__ == "__main__":
    import_learn2learn()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
