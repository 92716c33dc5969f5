"""mlcg checkpoints -> force fields: variants that no file at hand has, wrappers, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mdflash.core.state import Layout
from mdflash.errors import ForceFieldError, InputError, UnsafePickleError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.forcefield import load_forcefield, save_forcefield
from mdflash.importers.mlcg import import_mlcg
from mdflash.neighbors.reference import all_pairs
from tests.importers.fake_mlcg import (
    AtomicData,
    CosineCutoff,
    ExpNormalBasis,
    GaussianBasis,
    GradientsOut,
    IdentityCutoff,
    RegularizedBasis,
    SpacedExpBasis,
    StandardSchNet,
    SumOut,
    prior,
    save,
)
from tests.processes import python

COSINE = CosineCutoff(0.0, 9.0)
SCHNETS = {
    "gaussian, cosine, silu": lambda: StandardSchNet(GaussianBasis(COSINE, 12), COSINE, [7], 10, 6, 25, 2, nn.SiLU()),
    "gaussian, identity": lambda: StandardSchNet(
        GaussianBasis(IdentityCutoff(0.0, 9.0), 12), COSINE, [7, 5], 6, 10, 25, 3, nn.Tanh()
    ),
    "no envelope at all": lambda: StandardSchNet(
        GaussianBasis(IdentityCutoff(0.0, 9.0), 8), IdentityCutoff(0.0, 9.0), [7], 6, 6, 25, 1, nn.Softplus()
    ),
    "expnormal, relu, four output layers": lambda: StandardSchNet(
        ExpNormalBasis(COSINE, 9), COSINE, [9, 8, 7], 8, 8, 25, 2, nn.ReLU()
    ),
    "expnormal, lower cutoff": lambda: StandardSchNet(
        ExpNormalBasis(CosineCutoff(2.0, 9.0), 9), CosineCutoff(2.0, 9.0), [5], 8, 8, 25, 1, nn.GELU()
    ),
    "different ends of the two cutoffs": lambda: StandardSchNet(
        ExpNormalBasis(COSINE, 9), CosineCutoff(0.0, 7.0), [5], 8, 8, 25, 1, nn.ELU()
    ),
    "spaced basis, biases, deep filter": lambda: StandardSchNet(
        SpacedExpBasis(COSINE, 9), COSINE, [5], 8, 8, 25, 2, nn.Sigmoid(), filter_hidden=(6, 11), last_bias=True
    ),
    "linear filter, no hidden output": lambda: StandardSchNet(
        ExpNormalBasis(COSINE, 9), COSINE, [], 8, 8, 25, 2, nn.Tanh(), filter_hidden=()
    ),
}  # fmt: skip


def molecule(seed: int, types: list[int], **lists: list[list[int]]) -> AtomicData:
    g = torch.Generator().manual_seed(seed)
    steps = torch.randn(len(types), 3, generator=g, dtype=torch.float64)
    return AtomicData((3.8 * steps / steps.norm(dim=1, keepdim=True)).cumsum(0), types, **lists)


@pytest.mark.parametrize("name", SCHNETS)
def test_every_variant_of_schnet(name: str, tmp_path: Path) -> None:
    torch.manual_seed(11)
    model = SCHNETS[name]().double()
    types = [1, 2, 6, 20, 3, 6, 13, 6]
    data = molecule(2, types)
    files = [save(tmp_path / "model.pt", GradientsOut(model, "SchNet")), save(tmp_path / "data.pt", [data])]
    save_forcefield(tmp_path / "ff", import_mlcg(files[:1], files[1], "test"))
    ff = load_forcefield(tmp_path / "ff")
    system, start = ff.system()
    assert start is not None
    positions = torch.from_numpy(start[0]).requires_grad_()
    expected = model.energy(positions, torch.tensor(types))
    (gradient,) = torch.autograd.grad(expected, positions)
    layout = Layout((system,), (1,))
    potential = build_potential([ff], layout)
    x = positions.detach()
    energy, forces = potential.energy_and_forces(x, layout, all_pairs(x, layout, 9.0))
    assert torch.allclose(energy[0], expected, rtol=1e-12, atol=0)
    assert (forces + gradient).norm() <= 1e-11 * gradient.norm()
    assert gradient.norm() > 1e-5


def triple(values: dict[tuple[int, ...], float], order: int) -> torch.Tensor:
    table = torch.zeros((7,) * order)
    for key, value in values.items():
        table[key] = value
    return table


def test_every_prior_class_becomes_its_form(tmp_path: Path) -> None:
    g = torch.Generator().manual_seed(1)
    pair, angle, torsion = [(1, 2), (2, 1)], [(1, 2, 3), (3, 2, 1)], [(1, 2, 3, 4), (4, 3, 2, 1)]
    classes = {
        "HarmonicBonds": ("harmonic_bond", pair, {"k": 2, "x_0": 2}),
        "GeneralBonds": ("harmonic_bond", pair, {"k": 2, "x_0": 2}),
        "HarmonicAngles": ("harmonic_angle_cosine", angle, {"k": 3, "x_0": 3}),
        "GeneralAngles": ("harmonic_angle_cosine", angle, {"k": 3, "x_0": 3}),
        "HarmonicAnglesRaw": ("harmonic_angle", angle, {"k": 3, "x_0": 3}),
        "HarmonicImpropers": ("harmonic_improper", torsion, {"k": 4, "x_0": 4}),
        "ShiftedPeriodicHarmonicImpropers": ("shifted_harmonic_improper", torsion, {"k": 4, "x_0": 4}),
        "Dihedral": ("fourier_dihedral", torsion, {"v_0": 4, "k1s": -4, "k2s": -4}),
        "QuarticAngles": ("polynomial_angle_cosine", angle, {"v_0": 3, "ks": -3}),
        "QuarticRawAngles": ("polynomial_angle", angle, {"v_0": 3, "ks": -3}),
        "RestrictedQuartic": ("restricted_quartic_angle", angle, dict.fromkeys(("a", "b", "c", "d", "k", "v_0"), 3)),
        "Repulsion": ("repulsion", pair, {"sigma": 2}),
    }  # fmt: skip
    ours = {"x_0": "x0", "v_0": "v0", "k1s": "k1", "k2s": "k2"}
    models = {}
    for sparse in (False, True):
        for kind, (_, keys, buffers) in classes.items():
            tables = {}
            for name, rank in buffers.items():
                shape = ((4,) if rank < 0 else ()) + (7,) * abs(rank)
                table = torch.zeros(shape)
                values = torch.rand(shape[: len(shape) - abs(rank)], generator=g)  # sound for every parameter
                for key in keys:
                    table[(..., *key)] = values
                tables[name] = table.to_sparse() if sparse else table
            name = f"{kind}-{sparse}"
            models[name] = GradientsOut(prior(kind)(name, keys, **tables), name)
    file = save(tmp_path / "priors.pt", SumOut(nn.ModuleDict(models)))
    ff = import_mlcg([file], None, "test")
    assert [t.name for t in ff.terms] == list(models)
    for term in ff.terms:
        kind = term.name.split("-")[0]
        form, keys, buffers = classes[kind]
        assert term.form == form and term.keyed_by == "types"
        names = [[ff.bead_types[i].name for i in row] for row in term.keys]
        assert names == [["ALA", "CYS", "ASP", "GLU"][: len(keys[0])]]  # the mirrored row is the same row
        for name in buffers:
            table = getattr(models[term.name].model, name).to_dense()
            expected = table[(..., *keys[0])].double().numpy()
            assert np.array_equal(term.parameters[ours.get(name, name)][0], expected)


def test_mirrored_rows_with_other_numbers_are_both_kept(tmp_path: Path) -> None:
    bonds = prior("GeneralBonds")(
        "bonds", [(1, 2), (2, 1)], k=triple({(1, 2): 5, (2, 1): 6}, 2), x_0=triple({(1, 2): 1, (2, 1): 1}, 2)
    )
    data = molecule(0, [1, 2, 1], bonds=[[0, 1], [1, 2]])
    files = [save(tmp_path / "p.pt", nn.ModuleDict({"bonds": bonds})), save(tmp_path / "d.pt", [data])]
    ff = import_mlcg(files[:1], files[1], "test")
    assert ff.terms[0].parameters["k"].tolist() == [5.0, 6.0]
    potential = build_potential([ff], Layout((ff.system()[0],), (1,)))
    assert potential.terms[0].tables[0][1]["k"].tolist() == [5.0, 6.0]  # type: ignore[attr-defined]


def bonds_prior(name: str = "bonds") -> nn.Module:
    keys = [(1, 2), (2, 1), (1, 1)]
    return prior("GeneralBonds")(
        name, keys, k=triple(dict.fromkeys(keys, 5.0), 2), x_0=triple(dict.fromkeys(keys, 3.8), 2)
    )


def test_equal_molecules_are_one_system_and_different_ones_several(tmp_path: Path) -> None:
    a, b = [1, 2, 1], [2, 1, 1, 1]
    data = [
        molecule(0, a, bonds=[[0, 1], [1, 2]]),
        molecule(1, b, bonds=[[0, 1], [1, 2], [2, 3]]),
        molecule(2, a, bonds=[[0, 1], [1, 2]]),
    ]
    files = [save(tmp_path / "p.pt", bonds_prior()), save(tmp_path / "d.pt", data)]
    ff = import_mlcg(files[:1], files[1], "test")
    assert [(s.name, s.residue_names, start.shape) for s, start in ff.systems if start is not None] == [
        ("test-1", ("ALA", "CYS", "ALA"), (2, 3, 3)),
        ("test-2", ("CYS", "ALA", "ALA", "ALA"), (1, 4, 3)),
    ]
    first, start = ff.systems[0]
    assert start is not None and np.array_equal(start[1], data[2]._store._mapping["pos"].numpy())
    assert first.bonds.tolist() == [[0, 1], [1, 2]] and first.interactions["bonds"].tolist() == [[0, 1], [1, 2]]
    assert first.masses.tolist() == pytest.approx([12.0] * 3, rel=1e-15)


def test_five_beads_residues_and_chains(tmp_path: Path) -> None:
    one = [21, 22, 1, 23, 24, 21, 6, 23, 24]  # ALA, GLY
    bonds = [[0, 1], [1, 2], [1, 3], [3, 4], [3, 5], [5, 6], [6, 7], [7, 8]]
    keys = sorted({(one[i], one[j]) for i, j in bonds})
    table = torch.zeros(25, 25)
    for key in keys:
        table[key] = 1.0
    bonded = prior("GeneralBonds")("bonds", keys, k=table, x_0=table)
    data = molecule(0, one + one, bonds=bonds + [[i + 9, j + 9] for i, j in bonds])
    files = [save(tmp_path / "p.pt", bonded), save(tmp_path / "d.pt", [data])]
    ff = import_mlcg(files[:1], files[1], "dimer")
    system, _ = ff.system()
    assert ff.mapping == "five-bead"
    assert system.residue_names == ("ALA", "GLY", "ALA", "GLY") and system.chain_ids == ("A", "A", "B", "B")
    assert system.bead_names == ("N", "CA", "CB", "C", "O", "N", "CA", "C", "O") * 2


def test_specialised_priors_belong_to_one_molecule(tmp_path: Path) -> None:
    static = "mlcg.simulation.specialize_prior"

    def bonds(k: list[float]) -> nn.Module:
        made = prior("StaticGeneralBonds", static)(
            "bonds", [(0, 0)], x0=torch.ones(4), k=torch.tensor(k), V0=torch.zeros(4)
        )
        del made.allowed_interaction_keys
        return SumOut(nn.ModuleDict({"bonds": GradientsOut(made, "bonds")}))

    same = [molecule(s, [1, 2, 1], bonds=[[0, 1], [1, 2]]) for s in range(2)]
    ff = import_mlcg([save(tmp_path / "a.pt", (bonds([1.0, 2.0, 1.0, 2.0]), same))], None, "test")
    (term,) = ff.terms
    assert term.keyed_by == "beads" and term.keys.tolist() == [[0, 1], [1, 2]]
    assert term.parameters["k"].tolist() == [1.0, 2.0] and ff.system()[1].shape == (2, 3, 3)  # type: ignore[union-attr]
    with pytest.raises(ForceFieldError, match="other parameters in each"):
        import_mlcg([save(tmp_path / "b.pt", (bonds([1.0, 2.0, 1.0, 3.0]), same))], None, "test")
    other = [same[0], molecule(3, [2, 2, 2], bonds=[[0, 2], [1, 2]])]
    with pytest.raises(ForceFieldError, match="several different molecules"):
        import_mlcg([save(tmp_path / "c.pt", (bonds([1.0, 2.0, 1.0, 2.0]), other))], None, "test")
    with pytest.raises(ForceFieldError, match="specialized for structures"):
        import_mlcg([save(tmp_path / "d.pt", bonds([1.0, 2.0, 1.0, 2.0]))], None, "test")


def test_exclusions_of_a_network_come_along(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SCHNETS["expnormal, relu, four output layers"]().double()
    data = molecule(4, [1, 2, 3])
    free = import_mlcg([save(tmp_path / "m.pt", model)], save(tmp_path / "free.pt", [data]), "free")
    data._store._mapping["exc_pair_index"] = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    tied = import_mlcg([tmp_path / "m.pt"], save(tmp_path / "tied.pt", [data]), "tied")
    energies = {}
    for ff in (free, tied):
        system, start = ff.system()
        assert start is not None
        layout, x = Layout((system,), (1,)), torch.from_numpy(start[0])
        pairs = all_pairs(x, layout, 9.0)
        energies[ff.name] = build_potential([ff], layout).energy_and_forces(x, layout, pairs).energy
    assert tied.system()[0].interactions["excluded"].tolist() == [[0, 1], [1, 2]]
    assert not torch.equal(energies["free"], energies["tied"])


def test_lightning_checkpoints_have_the_trained_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = GradientsOut(SCHNETS["gaussian, identity"](), "SchNet")
    trained = {f"model.{k}": v + 1.0 for k, v in model.state_dict().items()} | {"loss.weights": torch.ones(1)}
    file = save(tmp_path / "last.ckpt", {"state_dict": trained, "hyper_parameters": {"model": model}})
    (network,) = import_mlcg([file], None, "test").networks
    assert np.array_equal(network.weights["embedding"], trained["model.model.embedding_layer.weight"].numpy())
    bare = save(tmp_path / "bare.ckpt", {"state_dict": trained, "hyper_parameters": {}})
    with pytest.raises(ForceFieldError, match="training checkpoint"):
        import_mlcg([bare], None, "test")


def test_a_term_given_twice_names_both_files(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.pt", nn.ModuleDict({"bonds": bonds_prior()})) for n in "ab"]
    with pytest.raises(ForceFieldError, match=r"'bonds' is in both .*a\.pt and .*b\.pt"):
        import_mlcg(files, None, "test")


def test_what_mdflash_does_not_have_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = tmp_path / "m.pt"
    with pytest.raises(UnsafePickleError, match=r"mlcg\.nn\.painn\.PaiNN"):
        import_mlcg([save(file, GradientsOut(prior("PaiNN", "mlcg.nn.painn")("PaiNN", [(1,)]), "PaiNN"))])
    with pytest.raises(ForceFieldError, match=r"'repulsion'.*mlcg\.nn\.prior\.ExpRepulsion"):
        import_mlcg([save(file, prior("ExpRepulsion")("repulsion", [(1, 1)], alpha=torch.ones(2, 2)))])
    regularized = StandardSchNet(RegularizedBasis(COSINE, 5), COSINE, [4], 4, 4, 25, 1, nn.Tanh())
    with pytest.raises(UnsafePickleError, match="RegularizedBasis"):
        import_mlcg([save(file, regularized)])
    mean = StandardSchNet(GaussianBasis(COSINE, 5), COSINE, [4], 4, 4, 25, 1, nn.Tanh())
    mean.interaction_blocks[0].conv.aggr = "mean"
    with pytest.raises(ForceFieldError, match="'mean'"):
        import_mlcg([save(file, mean)])
    softplus = StandardSchNet(GaussianBasis(COSINE, 5), COSINE, [4], 4, 4, 25, 1, nn.Softplus(beta=2))
    with pytest.raises(ForceFieldError, match="Softplus with beta=2"):
        import_mlcg([save(file, softplus)])


def test_models_and_structures_in_each_others_place(tmp_path: Path) -> None:
    model = save(tmp_path / "p.pt", bonds_prior())
    data = save(tmp_path / "d.pt", [molecule(0, [1, 2], bonds=[[0, 1]])])
    with pytest.raises(ForceFieldError, match="--structures"):
        import_mlcg([data], None, "test")
    with pytest.raises(InputError, match="holds no structures"):
        import_mlcg([model], model, "test")
    with pytest.raises(ForceFieldError, match="no mlcg model, but a dict"):
        import_mlcg([save(tmp_path / "x.pt", {"a": 1})], None, "test")


def test_wrong_structures_are_named(tmp_path: Path) -> None:
    model = save(tmp_path / "p.pt", bonds_prior())

    def refused(data: AtomicData, match: str) -> None:
        with pytest.raises(InputError, match=match):
            import_mlcg([model], save(tmp_path / "d.pt", [data]), "test")

    nan = molecule(0, [1, 2], bonds=[[0, 1]])
    nan._store._mapping["pos"][1, 2] = torch.nan
    refused(nan, "structure 0: the position of bead 1")
    refused(molecule(0, [1, 2], bonds=[[0, 2]]), "names bead 2, but the last bead is 1")
    refused(molecule(0, [1, 3], bonds=[[0, 1]]), "no parameters for the bead types ALA-ASP.*ALA 1.*ASP 2")
    short = molecule(0, [1, 2], bonds=[[0, 1]])
    short._store._mapping["pos"] = short._store._mapping["pos"][:1]
    refused(short, "2 bead types but positions")


def test_importing_needs_neither_mlcg_nor_torch_geometric(reference_dir: Path) -> None:
    code = f"""
import sys
for name in ("mlcg", "torch_geometric", "torch_cluster"):
    sys.modules[name] = None
from pathlib import Path
from mdflash.importers.mlcg import import_mlcg
ff = import_mlcg([Path({str(reference_dir / "mlcg/schnet_cln_ca_specialized_model_and_config.pt")!r})])
print(len(ff.terms), len(ff.networks), ff.systems[0][0].n_beads)
"""
    done = python("-c", code, check=True)
    assert done.stdout.split() == ["4", "1", "10"]
