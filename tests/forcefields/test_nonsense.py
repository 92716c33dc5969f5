"""Nonsense in forcefield.yaml is refused by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mdflash.errors import ForceFieldError
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.shipped import find_shipped


def refused(tmp_path: Path, data: dict[str, Any], key: str) -> None:
    (tmp_path / "forcefield.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.raises(ForceFieldError) as error:
        load_forcefield(tmp_path)
    assert error.value.key == key, error.value


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_is_refused_by_its_key(tmp_path: Path, seed: int) -> None:
    shipped = find_shipped("forcefields", "go-chignolin")
    assert shipped is not None
    text, draw = (shipped / "forcefield.yaml").read_text(), np.random.default_rng(seed)

    def fresh() -> dict[str, Any]:
        data: dict[str, Any] = yaml.safe_load(text)
        return data

    (data := fresh())["units"]["energy"] = str(draw.choice(["kJ/mol", "eV", "kT"]))
    refused(tmp_path, data, "units.energy")
    (data := fresh())[word := f"x{seed}"] = 1
    refused(tmp_path, data, word)
    i = int(draw.integers(len(fresh()["terms"])))
    (data := fresh())["terms"][i][word] = 1
    refused(tmp_path, data, f"terms.{i}.{word}")
    data = fresh()
    kind = str(draw.choice(list(data["bead_types"])))
    data["bead_types"][kind]["mass"] = str(draw.choice(["0 Da", "-5 Da"]))
    refused(tmp_path, data, f"bead_types.{kind}.mass")
    listed = [k for k, term in enumerate(data["terms"]) if term["keyed_by"] == "beads"]
    i, data = int(draw.choice(listed)), fresh()
    k = int(draw.integers(len(data["terms"][i]["rows"])))
    data["terms"][i]["rows"][k][1] = data["terms"][i]["rows"][k][0]
    refused(tmp_path, data, f"terms.{i}.rows.{k}")
    (near,) = (k for k, term in enumerate(data["terms"]) if term["keyed_by"] == "neighbors")
    for option, values in (("cutoff", ["0 angstrom", "-8 angstrom"]), ("exclude_bonds", [-1, 10**6, 2**70])):
        (data := fresh())["terms"][near][option] = values[int(draw.integers(len(values)))]
        refused(tmp_path, data, f"terms.{near}.{option}")
