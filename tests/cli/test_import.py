"""`mdflash import`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mdflash.cli.app import app
from mdflash.config.load import load_run
from mdflash.errors import InputError, MdflashError, StorageError, UnsafePickleError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.runs.prepare import prepare


def mdflash(*arguments: object) -> str:
    """What the command prints; its error, if it ends in one."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if isinstance(result.exception, MdflashError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_model_becomes_a_folder_that_runs(reference_dir: Path, tmp_path: Path) -> None:
    folder = reference_dir / "mlcg"
    out = tmp_path / "new" / "enh"
    said = mdflash(
        "import", "mlcg", folder / "1enh_5b_random_schnet_exp_schnet.pt", folder / "prior.pt",
        "--structures", folder / "1enh_5b_configurations.pt", "--out", out,
    )  # fmt: skip
    assert f"mdflash run {out / 'system.yaml'}" in said
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "forcefield.yaml", "system.yaml", "systems/enh.safetensors", "weights.safetensors",
    ]  # fmt: skip
    prepared = prepare(load_run(out / "system.yaml", ["replicas.count=2"]))
    assert prepared.layout.describe() == "2 x enh (269 beads)"
    assert len(prepared.potential.terms) == 52  # SchNet and 51 priors, as published


def test_several_molecules_and_no_molecules(reference_dir: Path, tmp_path: Path) -> None:
    folder = reference_dir / "mlcg"
    said = mdflash("import", "mlcg", folder / "prior.pt", "--out", tmp_path / "ff", "--name", "priors")
    assert "--structures" in said
    assert load_forcefield(tmp_path / "ff").name == "priors"
    assert not (tmp_path / "ff" / "system.yaml").exists()


def test_nothing_is_overwritten_or_left_half_written(reference_dir: Path, tmp_path: Path) -> None:
    model = reference_dir / "mlcg" / "sparse_prior_cln_ca.pt"
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("keep")
    with pytest.raises(StorageError, match="already exists"):
        mdflash("import", "mlcg", model, "--out", full)
    torn = tmp_path / "torn.pt"
    torn.write_bytes(model.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"torn\.pt"):
        mdflash("import", "mlcg", torn, "--out", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "torn.pt"]
    assert (full / "mine.txt").read_text() == "keep"


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.marker}",)


def test_a_malicious_model_or_structure_runs_nothing(reference_dir: Path, tmp_path: Path) -> None:
    evil, marker = tmp_path / "evil.pt", tmp_path / "marker"
    torch.save({"state_dict": {"w": torch.ones(2)}, "x": Payload(marker)}, evil)
    for arguments in ([evil], [reference_dir / "mlcg" / "prior.pt", "--structures", evil]):
        with pytest.raises(UnsafePickleError, match=r"evil\.pt.*posix\.system"):
            mdflash("import", "mlcg", *arguments, "--out", tmp_path / "out")
    assert not marker.exists() and not (tmp_path / "out").exists()


def test_a_simulation_input_becomes_a_system_yaml(reference_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "system.yaml"
    mdflash("import", "mlcg", reference_dir / "mlcg" / "langevin.yaml", "--out", out)
    command = next(line for line in out.read_text().splitlines() if "mdflash import mlcg" in line)
    model = reference_dir / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"
    assert "--out cln_model --name cln_model" in command
    mdflash("import", "mlcg", model, "--out", tmp_path / "cln_model", "--name", "cln_model")
    run = load_run(out)
    assert run.total_steps == 500 and run.temperatures == (301.329,) and run.dynamics.seed == 103838
    with pytest.raises(InputError, match="already exists"):
        mdflash("import", "mlcg", reference_dir / "mlcg" / "langevin.yaml", "--out", out)


def test_info_shows_what_was_imported(reference_dir: Path, tmp_path: Path) -> None:
    model = reference_dir / "mlcg" / "schnet_cln_ca_specialized_model_and_config.pt"
    mdflash("import", "mlcg", model, "--out", tmp_path / "cln")
    said = mdflash("info", tmp_path / "cln")
    ff = load_forcefield(tmp_path / "cln")
    for word in (ff.digest[:20], "508,994 numbers", "k (r - x0)^2", "expnormal", "TYR", "sha256", "schnet_cln_ca"):
        assert word in said
    with pytest.raises(MdflashError, match=r"nowhere: no such folder"):
        mdflash("info", "nowhere")
