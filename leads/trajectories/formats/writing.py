"""Writing any format, whole or not at all."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leads.errors import FileError, LeadsError, SettingsError
from leads.registry import nearest
from leads.trajectories.files import _replace_folder
from leads.trajectories.formats.format import Format, formats
from leads.trajectories.formats.reading import Paths, check_settings, suffixes
from leads.trajectories.trajectories import Trajectories


def write(data: Trajectories, path: Paths, format: str | None = None, **settings: Any) -> list[Path]:
    """Write trajectories in any known format, whole or not at all. An observation operator is not kept: a warning says so.

    Args:
        data: what to write.
        path: the file. Where the format holds one environment a file and the data have more: a folder, which gets
            ``environment_000.hdf5``, ...; or one path an environment.
        format: a name of :data:`formats`; by default by the suffix, where only one has it.
        settings: of the format; see the ``write`` of its class.

    Returns:
        The files written, in the order of the environments.

    Raises:
        UnknownNameError: no format of that name.
        FileError: a suffix that the format does not have, or a file that could not be written; what was there before
            is untouched.
        SettingsError: settings that the format does not have, or paths that do not fit the environments.
        ShapeError, DataError: data that the format cannot hold.
    """
    name = format or _by_suffix(path)
    kind = formats[name]()
    check_settings(kind.write, settings, name)
    targets = _targets(data, path, kind, name)
    if data.operator is not None:
        warnings.warn(
            f"The format {name!r} does not keep the observation operator; the observations and their mask are written. "
            "leads.trajectories.save keeps it (.nc or .zarr).",
            stacklevel=2,
        )
    whole = replace(
        data,
        states=data.states.detach().cpu(),
        mask=None if data.mask is None else data.mask.cpu(),
        parameters=None if data.parameters is None else data.parameters.detach().cpu().double(),
        times=data.times.detach().cpu().double(),
    )
    parts = [t.with_name(f".{t.stem}.{os.getpid()}.part{t.suffix}") for t in targets]
    try:
        for i, (target, part) in enumerate(zip(targets, parts, strict=True)):
            target.parent.mkdir(parents=True, exist_ok=True)
            kind.write(whole.select(environments=[i]) if kind.one_each else whole, part, **settings)
        for target, part in zip(targets, parts, strict=True):
            _into_place(part, target)
    except LeadsError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise FileError(f"Could not write {path}: {error}. What was there before is untouched.") from error
    finally:
        for part in parts:
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
    return targets


def _into_place(part: Path, target: Path) -> None:
    if part.is_dir():
        return _replace_folder(part, target)
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)


def _by_suffix(path: Paths) -> str:
    suffix = Path(path if isinstance(path, str | Path) else path[0]).suffix
    found = [name for name in formats if suffix in formats[name].suffixes]
    if len(found) != 1:
        known = f"Files ending in {suffix!r} can be {' or '.join(found)}." if found else nearest(suffix, suffixes())
        raise SettingsError(f"The suffix {suffix!r} does not say one format: pass format=. {known}")
    return found[0]


def _targets(data: Trajectories, path: Paths, kind: Format, name: str) -> list[Path]:
    count = data.n_environments if kind.one_each else 1
    if not isinstance(path, str | Path):
        targets = [Path(p) for p in path]
        if len(targets) != count or len(set(targets)) != count:
            raise SettingsError(f"{name} needs {count} different path(s) for these data, got {len(targets)}.")
    elif Path(path).suffix or not kind.one_each:
        targets = [Path(path)]
        if count != 1:
            raise SettingsError(
                f"{name} holds one environment a file and the data have {count}. Pass a folder (a path without a "
                f"suffix), {count} paths, or one environment by data.select(environments=[0])."
            )
    else:
        targets = [Path(path) / f"environment_{i:03d}{kind.suffixes[0]}" for i in range(count)]
        _check_folder(Path(path), targets, kind)
    for target in targets:
        if target.suffix not in kind.suffixes:
            raise FileError(
                f"{name} files end in {' or '.join(kind.suffixes)}, got {target.name!r}. "
                f"{nearest(target.suffix, kind.suffixes)}"
            )
    return targets


def _check_folder(folder: Path, targets: Sequence[Path], kind: Format) -> None:
    """Other data files would be read as further environments."""
    other = [p for p in folder.glob("*") if p.suffix in kind.suffixes and p not in targets] if folder.is_dir() else []
    if other:
        raise SettingsError(f"The folder {folder} holds other data, e.g. {other[0].name}. Choose an empty one.")
