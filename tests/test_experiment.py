from __future__ import annotations

import pytest

from leads.cli.hydra import compose
from leads.errors import UnknownNameError
from leads.experiment import from_dict

NAMES = [
    f"{f}_{m}"
    for f in ("lotka_volterra", "gray_scott")
    for m in ("erm", "one_per_environment", "leads", "coda", "geps")
]


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_composes(name: str) -> None:
    experiment = compose([f"experiment={name}"])
    assert f"{experiment.family.name}_{experiment.method.name}" == name
    assert experiment.backbone.name == ("mlp" if name.startswith("lotka") else "conv")
    assert experiment.trainer.validate_every < experiment.trainer.steps


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'seed'"):
        from_dict({"sed": 1})
    with pytest.raises(UnknownNameError, match="Did you mean 'steps'"):
        from_dict({"trainer": {"step": 1}})
