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
    "version", "configs", "errors", "registry", "numerics", "integrators", "environments", "observation", "trajectories", "backbones", "adapters",
    "contexts", "dynamics", "algorithms", "hidden", "training", "adaptation", "evaluation", "ocean", "experiment", "serving", "testing", "cli", "interop",
]  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if p != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(source: str) -> list[str]:
    """Every dotted name that a file imports, wherever in it; ``from leads import x`` counts as ``leads.x``."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names += [f"leads.{a.name}" for a in node.names] if node.module == "leads" else [node.module or ""]
    return names


def violations(own: str, source: str) -> list[str]:
    """Rooms that ``source``, standing in room ``own``, must not import."""
    rooms = [name.split(".")[1] for name in imports(source) if name.startswith("leads.")]
    return [other for other in rooms if other not in ORDER[: ORDER.index(own) + 1]]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_above(path: Path) -> None:
    own = room(path)
    assert own in ORDER, f"{own} is not in the table of rooms"
    assert not violations(own, path.read_text()), f"{path} imports what stands below {own}"
    assert "leads" not in imports(path.read_text()), f"{path} imports the whole package"


def test_violations_are_seen() -> None:
    assert violations("training", "def f():\n    from leads.adaptation import adapt") == ["adaptation"]
    assert violations("training", "from leads import fit") == ["fit"]
    assert violations("training", "import leads.evaluation.metrics") == ["evaluation"]
    assert violations("training", "from leads.dynamics import DecomposedDynamics\nimport torch") == []


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
    pattern = re.compile(r"\b(coda|geps|cavia|anil|maml|dyad|aphynity|ncf|foca|camel|dynainfer)\b")
    for path in FILES:
        # Interop calls other libraries' classes by the names that they have there.
        if room(path) in ("algorithms", "configs", "interop") or path.name == "published.py":
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
