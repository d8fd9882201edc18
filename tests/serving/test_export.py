"""Exported forecasters: equal to the model where they can be, refused with a reason where not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import leads
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import DivergenceError, SettingsError, ShapeError, UnknownNameError
from leads.serving import export
from leads.trajectories import DataSplits


@pytest.fixture(scope="module")
def adapted(coda: DecomposedDynamics, data: DataSplits) -> leads.Adapted:
    return leads.adapt(coda, data.adapt)


def test_torch_export(adapted: leads.Adapted, data: DataSplits, tmp_path: Path) -> None:
    test = data.adapt_test.select(frames=slice(0, 4))
    path = export(adapted, tmp_path / "f.pt2", test.initial, test.times)
    about = {"leads.json": ""}
    program = torch.export.load(path, extra_files=about).module()
    other = test.initial.flip(0) + 0.1
    torch.testing.assert_close(program(other), adapted.forecast(other, test.times), rtol=1e-5, atol=1e-6)
    assert json.loads(about["leads.json"])["times"] == test.times.tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["f.pt2"]


def test_onnx(adapted: leads.Adapted, data: DataSplits, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    test = data.adapt_test.select(frames=slice(0, 3))
    path = export(adapted, tmp_path / "f.onnx", test.initial, test.times, "onnx")
    session = onnxruntime.InferenceSession(str(path))
    other = test.initial + 0.1
    (got,) = session.run(["states"], {"x0": other.numpy()})
    want = adapted.forecast(other, test.times)
    torch.testing.assert_close(torch.from_numpy(np.asarray(got)), want, rtol=1e-5, atol=1e-6)
    assert json.loads(session.get_modelmeta().custom_metadata_map["leads"])["x0"] == [4, 4, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["f.onnx"]


def test_fields_too(diffusion: EnvironmentFamily, tmp_path: Path) -> None:
    data = leads.generate(diffusion, cache=False)
    model = leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4}, method="euler", substeps=2)
    x0, t = data.train.initial, data.train.times[:2]
    export(leads.trained(model), tmp_path / "f.pt2", x0, t)
    export(leads.trained(model), tmp_path / "f.onnx", x0, t, "onnx")


def test_what_onnx_has_no_form_for(diffusion: EnvironmentFamily, tmp_path: Path) -> None:
    data = leads.generate(diffusion, cache=False)
    model = leads.build("erm", diffusion, backbone="fno", backbone_settings={"width": 4, "modes": 2}, method="euler")
    x0, t = data.train.initial, data.train.times[:2]
    (tmp_path / "f.onnx").write_text("what was there before")
    try:
        export(leads.trained(model, data=data.train), tmp_path / "f.onnx", x0, t, "onnx")
    except SettingsError as error:
        assert "'fno' cannot be exported as 'onnx'" in str(error)  # noqa: PT017
        assert (tmp_path / "f.onnx").read_text() == "what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["f.onnx"]


def test_a_wrong_graph_is_not_kept(
    adapted: leads.Adapted, data: DataSplits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    module = sys.modules["leads.serving.export"]
    write, _ = module.FORMATS["torch_export"]
    constant = adapted.forecast(data.adapt_test.initial, data.adapt_test.times[:2])
    monkeypatch.setitem(module.FORMATS, "torch_export", (write, lambda path: lambda x: constant))
    with pytest.raises(SettingsError, match="differs from the model"):
        export(adapted, tmp_path / "f.pt2", data.adapt_test.initial, data.adapt_test.times[:2])
    assert not list(tmp_path.iterdir())


def test_bad_input(adapted: leads.Adapted, data: DataSplits, tmp_path: Path) -> None:
    x0, t = data.adapt_test.initial, data.adapt_test.times[:2]
    with pytest.raises(UnknownNameError, match="Did you mean 'onnx'"):
        export(adapted, tmp_path / "f", x0, t, "onx")
    with pytest.raises(ShapeError, match="E, N, C"):
        export(adapted, tmp_path / "f", x0[:2], t)
    with pytest.raises(DivergenceError):
        export(replace(adapted, contexts={"code": torch.full((4, 2), 1e30)}), tmp_path / "f", x0, t)
    past = leads.build("erm", data.train, history=2, backbone_settings={"width": 4})
    with pytest.raises(SettingsError, match="past frames"):
        export(leads.trained(past, data=data.train), tmp_path / "f", data.train.first(2), t)
