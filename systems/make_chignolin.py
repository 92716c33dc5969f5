"""Make chignolin's native structure (systems/chignolin.pdb) and its Gō force field (forcefields/go-chignolin).

    python systems/make_chignolin.py            # needs: pip install 'mdflash[openmm]' PeptideBuilder biopython

The molecule is CLN025, YYDPETGTWY (Honda et al., J. Am. Chem. Soc. 130, 15327 (2008)); no deposited coordinates are
used. PeptideBuilder builds the sequence with the backbone dihedrals of a beta hairpin with a 4:6 loop: two strands,
Asp3 at the end of the first, then a type I turn (Pro4, Glu5), Thr6 in the bridge region and Gly7 left-handed.
OpenMM adds hydrogens and relaxes with ff14SB and OBC2: annealing with the hairpin's dihedrals and its five backbone
hydrogen bonds held, so that side chains find their places, then minimization with nothing held. The script fails unless
the result is that hairpin, and still is after 300 ps at 340 K. About two minutes.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import Bio.PDB
import numpy as np
import openmm as mm
import PeptideBuilder
from openmm import app, unit
from PeptideBuilder import Geometry

from mdflash.analysis.against.coordinates import rmsd
from mdflash.forcefields.forcefield import save_forcefield
from mdflash.importers.go_model import GoParameters, go_from_structure
from mdflash.mapping.allatom import create_system

HERE = Path(__file__).resolve().parent
SEQUENCE = "YYDPETGTWY"
BACKBONE = [  # phi, psi in degrees
    (-105, 150), (-105, 140), (-105, 100),  # strand Y1-D3
    (-70, -20), (-70, -30), (-110, -20), (75, 20),  # loop P4-G7: alpha, alpha, bridge, left-handed
    (-120, 140), (-70, 130), (-140, 130),  # strand T8-Y10
]  # fmt: skip
BACKBONE_BONDS = [(1, "N", 10, "O"), (10, "N", 1, "O"), (3, "N", 8, "O"), (8, "N", 3, "O"), (7, "N", 3, "O")]
FRAYED = (10, "N", 1, "O")
"""The outermost bond, between two charged ends, may open once it is not held."""
LOOP_CAP = [(6, "N", 3, "OD1"), (6, "OG1", 3, "OD2")]  # Asp3's side chain holds the loop
STAGES = [  # temperature in K, hydrogen bond and torsion restraints in kJ/mol/nm^2 and kJ/mol, ps
    (500, 20_000, 150, 200), (400, 20_000, 150, 100), (340, 20_000, 100, 60), (300, 5_000, 20, 60), (100, 5_000, 0, 10),
]  # fmt: skip
FREE, MOST_DRIFT = (340, 300), 1.5  # K and ps; Å
SEED = 7

EPSILON = 0.81
"""kcal/mol; puts the folding temperature of the Gō model at 348 K (CLN025 melts at about 343 K)."""


def build() -> tuple[app.Topology, unit.Quantity]:
    """The peptide with hydrogens (pH 7, free termini) in the backbone geometry above."""
    chain = None
    for i, residue in enumerate(SEQUENCE):
        geometry = Geometry.geometry(residue)
        geometry.phi, geometry.psi_im1, geometry.omega = BACKBONE[i][0], BACKBONE[i - 1][1], 180
        if chain is None:
            chain = PeptideBuilder.initialize_res(geometry)
        else:
            PeptideBuilder.add_residue(chain, geometry)
    PeptideBuilder.add_terminal_OXT(chain)
    text, writer = io.StringIO(), Bio.PDB.PDBIO()
    writer.set_structure(chain)
    writer.save(text)
    text.seek(0)
    heavy = app.PDBFile(text)
    model = app.Modeller(heavy.topology, heavy.positions)
    forcefield = app.ForceField("amber14/protein.ff14SB.xml")
    model.addHydrogens(forcefield, pH=7.0, platform=mm.Platform.getPlatformByName("Reference"))
    return model.topology, model.positions


def relax(topology: app.Topology, positions: unit.Quantity) -> tuple[unit.Quantity, unit.Quantity]:
    """Minimize and anneal with the hairpin held, minimize free; and where that goes when nothing holds it."""
    atom = {(a.residue.index + 1, a.name): a.index for a in topology.atoms()}
    system = create_system(topology)
    bonds = mm.CustomBondForce("0.5 * k_bond * max(0, r - 0.30)^2")
    bonds.addGlobalParameter("k_bond", 50_000.0)
    for i, donor, j, acceptor in BACKBONE_BONDS + LOOP_CAP:
        bonds.addBond(atom[i, donor], atom[j, acceptor], [])
    torsions = mm.CustomTorsionForce("k_torsion * (1 - cos(theta - theta0))")
    torsions.addGlobalParameter("k_torsion", 1_000.0)
    torsions.addPerTorsionParameter("theta0")
    for i, (phi, psi) in enumerate(BACKBONE, start=1):
        n, ca, c = atom[i, "N"], atom[i, "CA"], atom[i, "C"]
        if i > 1:
            torsions.addTorsion(atom[i - 1, "C"], n, ca, c, [math.radians(phi)])
        if i < len(SEQUENCE):
            torsions.addTorsion(n, ca, c, atom[i + 1, "N"], [math.radians(psi)])
    system.addForce(bonds)
    system.addForce(torsions)
    timestep = 0.004
    integrator = mm.LangevinMiddleIntegrator(300, 1.0, timestep)
    integrator.setRandomNumberSeed(SEED)
    platform = mm.Platform.getPlatformByName("CPU")
    properties = {"Threads": "1", "DeterministicForces": "true"}
    simulation = app.Simulation(topology, system, integrator, platform, properties)
    context = simulation.context
    context.setPositions(positions)
    for k_torsion in (1_000.0, 200.0):
        context.setParameter("k_torsion", k_torsion)
        simulation.minimizeEnergy(maxIterations=2_000)
    context.setVelocitiesToTemperature(300, SEED + 4)
    for temperature, k_bond, k_torsion, length in STAGES:
        integrator.setTemperature(temperature)
        context.setParameter("k_bond", k_bond)
        context.setParameter("k_torsion", k_torsion)
        simulation.step(round(length / timestep))
    for name in ("k_bond", "k_torsion"):
        context.setParameter(name, 0.0)
    simulation.minimizeEnergy(tolerance=0.1)
    made = context.getState(positions=True).getPositions()
    integrator.setTemperature(FREE[0])
    simulation.step(round(FREE[1] / timestep))
    return made, context.getState(positions=True).getPositions()


def deviation(topology: app.Topology, one: unit.Quantity, other: unit.Quantity) -> float:
    """RMSD of the CA atoms in Å."""
    ca = [a.index for a in topology.atoms() if a.name == "CA"]
    x, y = (np.array(p.value_in_unit(unit.angstrom))[ca] for p in (one, other))
    return float(rmsd(x[None], y)[0])


def hairpin(topology: app.Topology, positions: unit.Quantity) -> tuple[bool, str]:
    """Whether its hydrogen bonds and cross-strand CA distances are a hairpin's, and what they are."""
    x = np.array(positions.value_in_unit(unit.angstrom))
    atom = {(a.residue.index + 1, a.name): a.index for a in topology.atoms()}
    limits = [(*bond, 2.6, 3.5) for bond in BACKBONE_BONDS if bond != FRAYED]
    limits.append((*FRAYED, 2.6, 5.0))
    limits += [(i, "CA", j, "CA", 3.8, 6.0) for i, j in ((1, 10), (2, 9), (3, 8))]
    ok, found = True, []
    for i, a, j, b, low, high in limits:
        d = float(np.linalg.norm(x[atom[i, a]] - x[atom[j, b]]))
        ok = ok and low < d < high
        found.append(f"{a}{i}-{b}{j} {d:.2f}")
    return ok, ", ".join(found) + " A"


def main() -> None:
    """Write the structure and the force field."""
    topology, positions = build()
    positions, later = relax(topology, positions)
    is_hairpin, found = hairpin(topology, positions)
    drift = deviation(topology, positions, later)
    print(f"{found}; {drift:.2f} A from there after {FREE[1]} ps at {FREE[0]} K")
    if not is_hairpin or drift > MOST_DRIFT:
        raise SystemExit("this is not the hairpin, or not a stable one; nothing was written")
    text = io.StringIO()
    app.PDBFile.writeFile(topology, positions, text)
    atoms = [line for line in text.getvalue().splitlines() if not line.startswith(("REMARK", "CONECT"))]
    title = [
        "REMARK   1 CLN025 (YYDPETGTWY), BUILT FROM SEQUENCE AS A BETA HAIRPIN AND RELAXED",
        "REMARK   1 IN OPENMM WITH FF14SB AND OBC2 BY SYSTEMS/MAKE_CHIGNOLIN.PY; NO DEPOSITED",
        "REMARK   1 COORDINATES WERE USED",
    ]
    structure = HERE / "chignolin.pdb"
    structure.write_text("\n".join([*title, *atoms]) + "\n")
    forcefield, _ = go_from_structure(structure, GoParameters(epsilon=EPSILON))
    save_forcefield(HERE.parent / "forcefields" / "go-chignolin", forcefield)


if __name__ == "__main__":
    main()
