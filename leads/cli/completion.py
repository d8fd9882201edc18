"""Tab completion of Hydra overrides, from the names of the configuration files alone: nothing heavy is imported."""

from __future__ import annotations

from importlib.resources import files

SETTINGS = ("seed=", "run_dir=", "trainer.steps=", "data.seed=", "data.fidelity=", "device=", "precision=", "threads=")


def groups() -> dict[str, list[str]]:
    """The choices of every configuration group, e.g. ``{"method": ["coda", ...], ...}``."""
    folders = [e for e in files("leads.configs").iterdir() if e.is_dir() and not e.name.startswith("_")]
    return {
        folder.name: sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
        for folder in folders
    }


def complete_override(incomplete: str) -> list[str]:
    """What an override that begins with ``incomplete`` can become."""
    choices = [f"{group}={name}" for group, names in groups().items() for name in names]
    return sorted(c for c in [*choices, *SETTINGS] if c.startswith(incomplete))


def complete_family(incomplete: str) -> list[str]:
    """Families that begin with ``incomplete``."""
    return [name for name in groups()["family"] if name.startswith(incomplete)]
