"""One page about a family: equation, channels, parameters, splits, cost, source."""

from __future__ import annotations

import inspect
import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, get_args, get_type_hints

from leads.environments.family import EnvironmentFamily, families, make


@dataclass(frozen=True)
class Card:
    """What ``leads list NAME`` and the gallery show of a family.

    Attributes:
        name: as registered.
        variants: the family with each of its splits, the default first.
        text: the system's page: equations, initial states, discretisation, source.
        cost: what simulating the benchmark set of the default split took, where measured
            (``benchmarks/families.py``).
    """

    name: str
    variants: tuple[EnvironmentFamily, ...]
    text: str
    cost: dict[str, Any] | None

    @property
    def title(self) -> str:
        """What the file of the family says in its first line."""
        module = inspect.getmodule(families[self.name])
        return ((module and module.__doc__) or self.name).strip().splitlines()[0].rstrip(".")

    def markdown(self, picture: str | None = None) -> str:
        """The whole card; ``picture`` is the path of one to show."""
        system = self.variants[0].system
        parts = [f"# {self.name}", f"{self.title}."]
        if picture:
            parts.append(f"![{self.name}]({picture})")
        parts += [_blocks(self.text), "## Channels", _table(["name", "unit", "meaning"], self._channels())]
        if system.grid is not None:
            g = system.grid
            sides = " x ".join(f"{n} {axis}" for n, axis in zip(g.shape, g.axes, strict=True))
            spacing = ", ".join(f"{h:g}" for h in g.spacing)
            kind = "periodic" if g.periodic else "bounded"
            parts.append(f"Grid: {sides}, spacing {spacing} {g.unit}, {kind}.")
        parts += ["## Parameters", _table(["name", "unit", "seen", "admissible", "meaning"], self._parameters())]
        parts += [
            "## Splits",
            _table(["split", "seen", "unseen", "frames", "trajectories a set", "source"], self._splits()),
        ]
        if self.cost:
            parts += ["## Cost", self._cost()]
        parts.append(f'```python\nfamily = leads.make("{self.name}")\ndata = leads.generate(family)\n```')
        return "\n\n".join(parts) + "\n"

    def _channels(self) -> list[list[str]]:
        return [[c.name, c.unit, c.long_name] for c in self.variants[0].system.channels]

    def _parameters(self) -> list[list[str]]:
        rows = []
        seen = self.variants[0].seen
        for i, p in enumerate(self.variants[0].system.parameters):
            values = seen[:, i].unique().tolist() if len(seen) else []
            shown = ", ".join(f"{v:g}" for v in values) if len(values) <= 5 else f"{values[0]:g} to {values[-1]:g}"
            rows.append([p.name, p.unit, shown, _range(p.low, p.high), p.long_name])
        return rows

    def _splits(self) -> list[list[str]]:
        rows = []
        for f in self.variants:
            further = len(f.horizon_times) != len(f.times)
            frames = f"{len(f.times)}, tested on {len(f.horizon_times)}" if further else str(len(f.times))
            b = f.budget
            counts = f"train {b.train}, valid {b.valid}, test {b.test}, adapt {b.adapt}, adapt_test {b.adapt_test}"
            rows.append([f.split, str(len(f.seen)), str(len(f.unseen)), frames, counts, f.source])
        return rows

    def _cost(self) -> str:
        assert self.cost is not None
        c = self.cost
        text = f"{c['trajectories']} trajectories of the {c['split']} split in {c['seconds']:.2g} s on one core"
        if c.get("ratio"):
            text += f"; at best {c['ratio']:.0f} times faster than {c['against']} at the same accuracy ({c['case']})"
        return f"{text} ({c['date']}, `benchmarks/families.py`)."


def card(name: str) -> Card:
    """The card of the family called ``name``.

    Raises:
        UnknownNameError: no such family; the nearest ones are offered.
    """
    variants = tuple(splits(name))
    return Card(name, variants, inspect.getdoc(type(variants[0].system)) or "", _costs().get(name))


def splits(name: str) -> list[EnvironmentFamily]:
    """The family once for every split that its function names in the type of its argument ``split``."""
    named = get_args(get_type_hints(families[name]).get("split"))
    return [make(name, split=split) for split in named] or [make(name)]


@cache
def _costs() -> dict[str, dict[str, Any]]:
    path = files("leads.environments") / "costs.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _range(low: float, high: float) -> str:
    left = "any" if math.isinf(low) and math.isinf(high) else None
    return left or f"{low:g} to {high:g}".replace("-inf", "any").replace("inf", "any")


def _table(columns: list[str], rows: list[list[str]]) -> str:
    line = lambda cells: "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"  # noqa: E731
    return "\n".join([line(columns), "|" + "---|" * len(columns), *map(line, rows)])


def _blocks(text: str) -> str:
    """A docstring as Markdown: indented blocks are equations or lists as they stand; arguments are left out."""
    lines: list[str] = []
    inside = arguments = False
    for line in text.replace("``", "`").splitlines():
        indented = line.startswith("    ")
        arguments = line == "Args:" or (arguments and (indented or not line.strip()))
        if arguments:
            continue
        if indented != inside and line.strip():
            lines.append("```")
            inside = indented
        lines.append(line[4:] if indented else line)
    return "\n".join([*lines, "```"] if inside else lines)
