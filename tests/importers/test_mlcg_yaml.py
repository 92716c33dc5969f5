"""mlcg simulation inputs -> system.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from mdflash.config.load import parse_run
from mdflash.core.yamlfile import parse_yaml
from mdflash.errors import InputError
from mdflash.importers.mlcg_yaml import translate
from mdflash.units import BOLTZMANN

GOOD = """\
betas: [1.67]
model_file: model.pt
structure_file: confs.pt
simulation:
  friction: 0.5
  n_timesteps: 5000
  dt: 0.002
  save_interval: 25
  random_seed: 7
  dtype: double
  filename: my run
  device: cuda
  log_type: write
"""


def test_values_and_units(tmp_path: Path) -> None:
    file = tmp_path / "langevin.yaml"
    file.write_text(GOOD)
    text = translate(file)
    data = parse_yaml(text, file).data
    assert data["name"] == "my-run"
    assert data["dynamics"]["temperature"] == f"{1 / (BOLTZMANN * 1.67):.6g} K" == "301.329 K"
    assert data["model"]["precision"] == "fp64"
    assert "mdflash import mlcg model.pt --structures confs.pt --out my-run" in text
    for key in ("device", "log_type"):
        assert f"#   {key}: " in text

    (tmp_path / "my-run" / "systems").mkdir(parents=True)  # what that command makes
    (tmp_path / "my-run" / "systems" / "my-run.safetensors").touch()
    (tmp_path / "my-run" / "forcefield.yaml").touch()
    run = parse_run(text, tmp_path / "system.yaml")
    assert run.dynamics.integrator == "langevin-baoab" and run.dynamics.seed == 7
    assert run.dynamics.timestep == 0.002 and run.dynamics.friction == 0.5
    assert run.total_steps == 5000 and run.trajectory_every == run.log_every == 25


@pytest.mark.parametrize("name", ["langevin.yaml", "parallel_tempering.yaml"])
def test_mlcgs_own_inputs(name: str, reference_dir: Path) -> None:
    text = translate(reference_dir / "mlcg" / name)
    data = parse_yaml(text, Path(name)).data
    several = name != "langevin.yaml"
    expected = ["301.329 K", "354.38 K", "433.81 K"] if several else "301.329 K"
    assert data["dynamics"]["temperature"] == expected
    assert data["replicas"]["count"] == (3 if several else 1)
    assert ("exchange_interval" in text) == several


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("betas: [1.67]", "betas: [0]", "line 1, key 'betas'"),
        ("betas: [1.67]", "betas: [true]", "line 1, key 'betas'"),
        ("betas: [1.67]", "temperature: 300", "betas"),
        ("dt: 0.002", "dt: -1", "line 7, key 'simulation.dt'"),
        ("n_timesteps: 5000", "n_timesteps: many", "line 6, key 'simulation.n_timesteps'"),
        ("save_interval: 25", "save_interval: 2.5", "line 8, key 'simulation.save_interval'"),
        ("random_seed: 7", "random_seed: -7", "line 9, key 'simulation.random_seed'"),
        ("dtype: double", "dtype: half", "line 10, key 'simulation.dtype'"),
    ],
)
def test_wrong_values_name_their_place(old: str, new: str, place: str, tmp_path: Path) -> None:
    file = tmp_path / "langevin.yaml"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(InputError, match=r"langevin\.yaml") as caught:
        translate(file)
    assert place in str(caught.value)
