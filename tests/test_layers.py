"""A package imports only what stands above it in the design's table; ``import leads`` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "leads"
ORDER = [
    "version", "errors", "registry", "integrators", "environments", "trajectories", "backbones", "adapters", "contexts",
    "dynamics", "algorithms", "training", "adaptation", "evaluation", "experiment", "testing", "cli",
]  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_above(path: Path) -> None:
    own = room(path)
    if own == "configs":
        return
    assert own in ORDER, f"{own} is not in the table of rooms"
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        names += [a.name for a in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name.startswith("leads."):
                other = name.split(".")[1]
                assert ORDER.index(other) <= ORDER.index(own), f"{own} imports {other}, which stands below it"


def test_import_is_light() -> None:
    heavy = [
        "tensorboard",
        "xarray",
        "matplotlib",
        "zarr",
        "learn2learn",
        "scipy",
        "hydra",
        "typer",
        "lightning_fabric",
    ]
    code = f"import sys, leads; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_method_is_named_outside_algorithms() -> None:
    pattern = re.compile(r"\b(coda|geps|cavia|anil|maml|dyad|aphynity|ncf)\b")
    for path in FILES:
        if room(path) in ("algorithms", "configs") or path.name == "published.py":
            continue
        tree = ast.parse(path.read_text())
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {
            n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)
        }
        hits = [n for n in names if pattern.search(n.lower())]
        compared = [
            c.value
            for n in ast.walk(tree)
            if isinstance(n, ast.Compare)
            for c in n.comparators
            if isinstance(c, ast.Constant) and isinstance(c.value, str) and pattern.search(c.value)
        ]
        assert not hits, path
        assert not compared, path
