"""One small registry: things register themselves where they are defined."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from leads.errors import SettingsError, UnknownNameError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that offers the known names nearest to ``name``, or lists them all when none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "Did you mean " + " or ".join(repr(c) for c in close) + "?"
    return "Known: " + (", ".join(known) if known else "none yet") + "."


class Registry(Generic[T]):
    """Named things of one kind.

    >>> systems = Registry("system")
    >>> @systems.register("duffing")
    ... class Duffing: ...
    >>> systems["duffing"] is Duffing
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that registers under ``name``; a name already taken is a :class:`SettingsError`."""

        def add(item: T) -> T:
            taken = self._items.get(name)
            if taken is not None and not _redefinition(taken, item):
                raise SettingsError(
                    f"A {self.kind} named {name!r} is registered already ({taken!r}). Choose another name."
                )
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            raise UnknownNameError(f"No {self.kind} is named {name!r}. {nearest(str(name), self._items)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)


def _redefinition(old: object, new: object) -> bool:
    """Whether ``new`` is ``old`` defined again, as happens when a notebook cell or a module is run twice."""
    identity = lambda item: (getattr(item, "__module__", None), getattr(item, "__qualname__", None))  # noqa: E731
    return None not in identity(new) and identity(old) == identity(new)
