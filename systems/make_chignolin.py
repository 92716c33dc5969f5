"""Make chignolin's native structure (systems/chignolin.pdb) and its Gō force field (forcefields/go-chignolin).

    python systems/make_chignolin.py            # needs: pip install 'mdflash[openmm]' PeptideBuilder biopython

The molecule is CLN025, YYDPETGTWY (Honda et al., J. Am. Chem. Soc. 130, 15327 (2008)); no deposited coordinates are
used. PeptideBuilder builds the sequence with the backbone dihedrals of a beta hairpin with a 4:6 loop: two strands,
Asp3 at the end of the first, then a type I turn (Pro4, Glu5), Thr6 in the bridge region and Gly7 left-handed.
OpenMM adds hydrogens and relaxes with ff14SB and OBC2: minimization and short dynamics with the hairpin's five
backbone hydrogen bonds held, dynamics with nothing held, quench, minimization. The script fails unless the free
molecule still is that hairpin. Seeds are fixed and OpenMM's Reference platform is used, so the same versions on the same
kind of machine give the same file. About two minutes.
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
HYDROGEN_BONDS = [(1, 10), (10, 1), (3, 8), (8, 3), (7, 3)]  # N of the first residue, O of the second
STAGES = [  # temperature in K, hydrogen bond and torsion restraint in kJ/mol(/nm^2), ps
    (350, 20_000, 100, 10), (300, 20_000, 50, 10), (300, 2_000, 0, 10), (280, 0, 0, 30), (100, 0, 0, 4),
]  # fmt: skip
EPSILON = 0.775
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
    for donor, acceptor in HYDROGEN_BONDS:
        bonds.addBond(atom[donor, "N"], atom[acceptor, "O"], [])
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
    integrator = mm.LangevinMiddleIntegrator(350, 1.0, timestep)
    integrator.setRandomNumberSeed(7)
    simulation = app.Simulation(topology, system, integrator, mm.Platform.getPlatformByName("Reference"))
    context = simulation.context
    context.setPositions(positions)
    for k_torsion in (1_000.0, 200.0):
        context.setParameter("k_torsion", k_torsion)
        simulation.minimizeEnergy(maxIterations=2_000)
    context.setVelocitiesToTemperature(350, 11)
    for temperature, k_bond, k_torsion, length in STAGES:
        integrator.setTemperature(temperature)
        context.setParameter("k_bond", k_bond)
        context.setParameter("k_torsion", k_torsion)
        simulation.step(round(length / timestep))
    simulation.minimizeEnergy(tolerance=0.1)
    return context.getState(positions=True).getPositions()


def check_hairpin(topology: app.Topology, positions: unit.Quantity) -> list[str]:
    """The distances that make it the hairpin, as text; raises SystemExit if it is none."""
    x = np.array(positions.value_in_unit(unit.angstrom))
    atom = {(a.residue.index + 1, a.name): a.index for a in topology.atoms()}

    def distance(i: int, a: str, j: int, b: str) -> float:
        return float(np.linalg.norm(x[atom[i, a]] - x[atom[j, b]]))

    lines = []
    for donor, acceptor in HYDROGEN_BONDS:
        d = distance(donor, "N", acceptor, "O")
        lines.append(f"N {donor} - O {acceptor}: {d:.2f} A")
        if d > 3.4:
            raise SystemExit(f"not the hairpin: hydrogen bond {lines[-1]} (at most 3.4 A)")
    for i, j in ((1, 10), (2, 9), (3, 8)):
        d = distance(i, "CA", j, "CA")
        lines.append(f"CA {i} - CA {j}: {d:.2f} A")
        if not 3.8 < d < 6.0:
            raise SystemExit(f"not the hairpin: {lines[-1]} (3.8 to 6.0 A)")
    return lines


def _forcefield() -> app.ForceField:
    return app.ForceField("amber14/protein.ff14SB.xml", "implicit/obc2.xml")


def main() -> None:
    """Write the structure and the force field."""
    topology, positions = build()
    positions = relax(topology, positions)
    found = check_hairpin(topology, positions)
    print("\n".join(found))
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
