"""A content-addressed cache of simulations: the name of a file is the hash of all that determines what is in it."""

from __future__ import annotations

import hashlib
import inspect
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from torch import Tensor

from leads.environments import System
from leads.errors import FileError

#: Raised when the numerics change in a way that the sources of the systems do not show.
NUMERICS = 2


def cache_folder() -> Path:
    """``$LEADS_CACHE``, else ``$XDG_CACHE_HOME/leads``, else ``~/.cache/leads``."""
    if "LEADS_CACHE" in os.environ:
        return Path(os.environ["LEADS_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "leads"


def fingerprint(system: System, *inputs: Tensor | str) -> str:
    """Hash of a system's source and attributes, and of everything it is solved with."""
    digest = hashlib.sha256(f"numerics {NUMERICS}".encode())
    digest.update(_source(type(system)).encode())
    digest.update(repr(sorted((k, repr(v)) for k, v in vars(system).items())).encode())
    for item in inputs:
        if isinstance(item, str):
            digest.update(item.encode())
        else:
            digest.update(repr((tuple(item.shape), str(item.dtype))).encode())
            digest.update(item.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


@cache
def _source(kind: type[System]) -> str:
    """The source of the files of a system's class and of those it builds on, :class:`System` itself excepted."""
    parts = []
    for base in kind.__mro__[: kind.__mro__.index(System)]:
        module = inspect.getmodule(base)
        try:
            parts.append(inspect.getsource(module if module and hasattr(module, "__file__") else base))
        except (OSError, TypeError):
            parts.append(repr(base))
    return "\n".join(parts)


def cached(key: str, make: Callable[[], Tensor], cache: bool | str | Path) -> Tensor:
    """The tensor stored under ``key``, or what ``make`` gives, stored for the next time.

    A damaged entry is made again with a warning; a folder that cannot be written costs the cache, not the result.
    """
    if cache is False:
        return make()
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    folder = cache_folder() if cache is True else Path(cache)
    path = folder / f"{key}.safetensors"
    if path.exists():
        try:
            return load(path.read_bytes())["states"]
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            warnings.warn(f"The cache entry {path} is damaged ({error}); it is made again.", stacklevel=2)
    states = make().contiguous()
    try:
        write_whole(path, save({"states": states}))
    except FileError as error:
        warnings.warn(f"The simulation was not cached: {error}", stacklevel=2)
    return states


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a kill or a full disk leaves what was there before.

    Raises:
        FileError: it could not be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise FileError(f"Could not write {path}: {error}. What was there before is untouched.") from error
    finally:
        part.unlink(missing_ok=True)
