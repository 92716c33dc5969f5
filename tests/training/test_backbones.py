"""Residual rules from a recipe to a run: trained by compiled gradients or plain torch, shown, and simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.potentials import backbones
from mdflash.training.recipe import load_recipe
from mdflash.training.run import make_trainer, prepare_training
from tests.training.datasets import write_recipe
from tests.training.test_train import _alone

RULES: dict[str, dict[str, Any]] = {
    **{name: {"rule": name, **({"streams": 4} if rule.streamed else {})} for name, rule in backbones.RULES.items()},
    "unscaled": {"rule": "plain", "branch_scale": "one"},
    "sinkhorn": {"rule": "geometric", "streams": 2, "mixing": "sinkhorn", "beta": 0.5},
    "tied": {"rule": "prenorm", "tied": True, "accumulate": True},
}


@pytest.mark.parametrize("name", RULES)
def test_two_steps_then_a_run(name: str, dataset: Path, tmp_path: Path) -> None:
    """`mdflash train`, `mdflash info` and `mdflash run`, as a user types them."""
    recipe = write_recipe(
        tmp_path / "recipe.yaml", dataset, network={"blocks": 3}, training={"epochs": 1, "batch": 200},
        backbone=RULES[name],
    )  # fmt: skip
    said = CliRunner().invoke(app, ["train", str(recipe), "--threads", "1"])
    assert said.exit_code == 0, said.output
    assert f"rule {RULES[name]['rule']}" in said.output and "2 steps" in said.output

    folder = tmp_path / "out" / "forcefield"
    (network,) = load_forcefield(folder).networks
    assert network.hyperparameters["backbone"].items() >= RULES[name].items() - {("branch_scale", "depth")}
    shown = CliRunner().invoke(app, ["info", str(folder)])
    assert shown.exit_code == 0 and f"rule {RULES[name]['rule']}" in shown.output

    system = {
        "mdflash": 1, "name": "run", "system": {"structure": str(dataset / "helix" / "system.safetensors")},
        "model": {"forcefield": str(folder)}, "replicas": {"count": 2}, "output": {"folder": str(tmp_path / "run")},
        "dynamics": {"timestep": "2 fs", "temperature": "300 K", "length": "40 fs"},
    }  # fmt: skip
    (tmp_path / "system.yaml").write_text(yaml.safe_dump(system))
    ran = CliRunner().invoke(app, ["run", str(tmp_path / "system.yaml")])
    assert ran.exit_code == 0, ran.output
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("name", RULES)
def test_compiled_gradients_train_as_plain_torch_does(name: str, dataset: Path, tmp_path: Path) -> None:
    weights = []
    for kernels in ("auto", "reference"):
        recipe = write_recipe(
            tmp_path / "recipe.yaml", dataset, training={"epochs": 1, "batch": 100, "kernels": kernels},
            backbone=RULES[name],
        )  # fmt: skip
        trainer = make_trainer(prepare_training(load_recipe(recipe)), _alone())
        start = {key: p.detach().clone() for key, p in trainer.parameters.items()}
        trainer.folder, trainer.state_file = tmp_path / kernels, tmp_path / kernels / "state.safetensors"
        trainer.log_file = tmp_path / kernels / "log.csv"
        trainer.run()
        weights.append(np.concatenate([(p.detach() - start[k]).flatten() for k, p in trainer.parameters.items()]))
    assert np.linalg.norm(weights[0] - weights[1]) < 0.02 * np.linalg.norm(weights[1])
