"""Make chignolin's native structure (systems/chignolin.pdb) and its Gō force field (forcefields/go-chignolin).

    python systems/make_chignolin.py            # needs: pip install 'mdflash[openmm]' PeptideBuilder biopython

The molecule is CLN025, YYDPETGTWY (Honda et al., J. Am. Chem. Soc. 130, 15327 (2008)); no deposited coordinates are
used. PeptideBuilder builds the sequence with the backbone dihedrals of a beta hairpin with a 4:6 loop: two strands,
Asp3 at the end of the first, then a type I turn (Pro4, Glu5), Thr6 in the bridge region and Gly7 left-handed.
OpenMM adds hydrogens and relaxes with ff14SB and OBC2: annealing with the hairpin's five backbone hydrogen bonds held,
then minimization with nothing held. The script fails unless the result is still that hairpin. About two minutes.
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

from mdflash.forcefield import save_forcefield
from mdflash.go import GoParameters, go_from_structure

HERE = Path(__file__).resolve().parent
SEQUENCE = "YYDPETGTWY"
BACKBONE = [  # phi, psi in degrees
    (-120, 130), (-120, 125), (-85, 115),  # strand Y1-D3
    (-60, -30), (-70, -30), (-95, -5), (85, 10),  # loop P4-G7: alpha, alpha, bridge, left-handed
    (-115, 135), (-115, 130), (-120, 130),  # strand T8-Y10
]  # fmt: skip
BACKBONE_BONDS = [(1, "N", 10, "O"), (10, "N", 1, "O"), (3, "N", 8, "O"), (8, "N", 3, "O"), (7, "N", 3, "O")]
FRAYED = (10, "N", 1, "O")
"""The outermost bond, between two charged ends, may open once it is not held."""
LOOP_CAP = [(6, "N", 3, "OD1"), (6, "OG1", 3, "OD2")]  # Asp3's side chain holds the loop
STAGES = [  # temperature in K, hydrogen bond and torsion restraints in kJ/mol/nm^2 and kJ/mol, ps
    (450, 20_000, 100, 16), (350, 20_000, 50, 8), (300, 20_000, 0, 12), (100, 20_000, 0, 4),
]  # fmt: skip
SEED = 7

EPSILON = 0.825
"""kcal/mol; puts the folding temperature of the Gō model near 340 K (CLN025 melts at about 343 K)."""


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
    model.addHydrogens(_forcefield(), pH=7.0, platform=mm.Platform.getPlatformByName("Reference"))
    return model.topology, model.positions


def relax(topology: app.Topology, positions: unit.Quantity) -> unit.Quantity:
    """Minimize and anneal, first with the hairpin held, then free."""
    atom = {(a.residue.index + 1, a.name): a.index for a in topology.atoms()}
    system = _forcefield().createSystem(
        topology, nonbondedMethod=app.NoCutoff, constraints=app.HBonds, hydrogenMass=3 * unit.amu
    )
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
    context.setParameter("k_bond", 0.0)
    simulation.minimizeEnergy(tolerance=0.1)
    return context.getState(positions=True).getPositions()


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


def _forcefield() -> app.ForceField:
    return app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml")


def main() -> None:
    """Write the structure and the force field."""
    topology, positions = build()
    positions = relax(topology, positions)
    is_hairpin, found = hairpin(topology, positions)
    print(found)
    if not is_hairpin:
        raise SystemExit("this is not the hairpin; nothing was written")
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
