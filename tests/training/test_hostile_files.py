"""Files meant to harm, or cut short: refused by the loaders with a reason, nothing executed, no memory taken."""

from __future__ import annotations

import json
import pickle
import resource
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.errors import CheckpointError
from leads.trajectories import DataSplits


class Bomb:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def header(content: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def described(description: object, tensors: dict[str, object] | None = None, data: bytes = b"") -> bytes:
    text = description if isinstance(description, str) else json.dumps(description)
    return header(json.dumps({"__metadata__": {"leads": text}, **(tensors or {})}).encode(), data=data)


FILES = {
    "header of 2^63 bytes": header(b"{}", 2**63),
    "header of 4 GiB": header(b"{}", 2**32),
    "header larger than the file": header(b"{}", 1000),
    "header that is no JSON": header(b"{]"),
    "header nested deep": header(b'{"a":' * 50_000),
    "tensor beyond the file": described({}, {"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
    "shape that overflows": described(
        {}, {"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, b"1234"
    ),
    "tensors that overlap": described(
        {},
        {k: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for k in "ab"},
        b"12345678",
    ),
    "zip": b"PK\x03\x04" + bytes(100),
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("load", [leads.load_model, leads.Adapted.load], ids=["model", "adapted"])
@pytest.mark.parametrize("name", FILES)
def test_damaged_headers(load: Callable[[Path], object], name: str, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(FILES[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=r"truncated or not|not written by leads"):
        load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("load", [leads.load_model, leads.Adapted.load], ids=["model", "adapted"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_are_not_opened(load: Callable[[Path], object], protocol: int, tmp_path: Path) -> None:
    path, mark = tmp_path / "f.safetensors", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Bomb(mark), protocol=protocol))
    with pytest.raises(CheckpointError, match="truncated or not"):
        load(path)
    torch.save({"a": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="truncated or not"):
        load(path)
    assert not mark.exists()


def test_every_truncation_of_an_adapted_model(coda: DecomposedDynamics, data: DataSplits, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    leads.adapt(coda, data.adapt).save(path)
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="truncated"):
            leads.Adapted.load(path)
    path.write_bytes(whole + b"more")
    with pytest.raises(CheckpointError, match="truncated or not"):
        leads.Adapted.load(path)


@pytest.mark.parametrize("load", [leads.load_model, leads.Adapted.load], ids=["model", "adapted"])
@pytest.mark.parametrize(
    "change",
    [
        {"algorithm": "__import__('os').system('true')"},
        {"backbone": 3},
        {"state_shape": [-2]},
        {"state_shape": "x"},
        {"state_shape": []},
        {"environments": "many"},
        {"settings": {"nothing": 1}},
        {"settings": []},
        {"seed": "x"},
        None,
    ],
    ids=range(10),
)
def test_recipes_that_cannot_be(
    load: Callable[[Path], object], change: dict[str, object] | None, coda: DecomposedDynamics, tmp_path: Path
) -> None:
    kind = "model" if load is leads.load_model else "adapted model"
    recipe = None if change is None else coda.recipe | change
    path = tmp_path / "f.safetensors"
    path.write_bytes(described({"format": 1, "kind": kind, "recipe": recipe}))
    with pytest.raises(CheckpointError):
        load(path)


@pytest.mark.parametrize("text", ["{", "3", "[]", "null", '{"format": 1'])
def test_descriptions_that_are_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(described(text))
    with pytest.raises(CheckpointError):
        leads.load_model(path)
