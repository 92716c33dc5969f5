"""mlcg's simulation input (langevin.yaml, parallel_tempering.yaml) -> system.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mdflash.config.write import commented_yaml
from mdflash.core.quantity import plain_word, show_quantity
from mdflash.core.yamlfile import Document, load_yaml
from mdflash.errors import InputError
from mdflash.units import BOLTZMANN, show

_ABOUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "save_forces": "frames hold positions; `mdflash energy` gives the forces of any frame",
        "save_energies": "energies are always in log.csv",
        "save_velocities": "velocities are in the checkpoints only",
        "save_force_components": "`mdflash energy` gives the forces of any frame",
        "save_energy_components": "`mdflash energy` gives each term of any frame",
        "device": "hardware.device: cpu or cuda",
        "export_interval": "frames are written as they come",
        "log_interval": "log.csv is written at output.log.interval",
        "log_type": "log.csv and events.jsonl are always written",
        "specialize_priors": "not needed",
        "create_checkpoints": "always: output.checkpoint",
        "read_checkpoint_file": "rerun the same command to resume from the last checkpoint",
        "compile": "kernels are always compiled",
        "compile_mode": "kernels are always compiled",
        "force_compile": "kernels are always compiled",
        "tqdm_refresh": "the progress bar refreshes by itself",
        "exchange_interval": "replica exchange is not in this version: the temperatures run side by side, unexchanged",
    }
)
"""Keys without a counterpart, and what there is instead."""

_USED: Final = frozenset(
    {"friction", "dt", "n_timesteps", "save_interval", "random_seed", "dtype", "filename", "betas"}
)


class _Input:
    """Reads values of an mlcg file; complaints name file, line and key."""

    def __init__(self, document: Document) -> None:
        self.document = document
        data = document.data
        if not isinstance(data, dict) or not isinstance(data.get("simulation"), dict) or "betas" not in data:
            raise InputError(
                "is not an mlcg simulation input: it needs the keys `betas` and `simulation`",
                file=document.file,
                line=1,
            )
        self.top: dict[str, Any] = data
        self.simulation: dict[str, Any] = data["simulation"]

    def fail(self, key: str, message: str) -> InputError:
        path = (key,) if key == "betas" else ("simulation", key)
        return InputError(message, file=self.document.file, line=self.document.line(path), key=".".join(path))

    def number(self, key: str, default: float, whole: bool = False) -> float:
        """A positive number; mlcg's default where the key is absent."""
        value = self.simulation.get(key, default)
        kinds = (int,) if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
            raise self.fail(key, f"expected a positive {'whole ' if whole else ''}number, found {value!r}")
        return value

    def betas(self) -> list[float]:
        given = self.top["betas"]
        values = given if isinstance(given, list) else [given]
        good = [b for b in values if isinstance(b, (int, float)) and not isinstance(b, bool) and b > 0]
        if not values or len(good) != len(values):
            raise self.fail("betas", f"expected positive numbers in mol/kcal, for example [1.67], found {given!r}")
        return [float(b) for b in good]


def translate(file: Path) -> str:
    """The text of a system.yaml that does what the mlcg input `file` describes.

    Betas (mol/kcal) become temperatures, several of them one temperature per replica; what has no counterpart
    is in comments. The model and structures come from `mdflash import mlcg MODEL --structures ...`, whose
    command line stands in the first comment.

    Raises:
        InputError: not an mlcg simulation input, or a value that makes no sense; names file, line, key.
    """
    given = _Input(load_yaml(file))
    simulation, betas = given.simulation, given.betas()
    name = plain_word(str(simulation.get("filename") or file.stem))
    dt = given.number("dt", 5e-4)
    dtype = simulation.get("dtype", "single")
    if dtype not in ("single", "double"):
        raise given.fail("dtype", f"expected single or double, found {dtype!r}")
    interval = show_quantity(dt * given.number("save_interval", 10, whole=True), "time", ("ps", "ns", "fs"))
    temperatures = [f"{1.0 / (BOLTZMANN * beta):.6g} K" for beta in betas]
    dynamics: dict[str, Any] = {
        "integrator": "langevin-baoab",
        "timestep": show_quantity(dt, "time", ("fs", "ps")),
        "friction": show(given.number("friction", 1e-3), "rate"),
        "temperature": temperatures[0] if len(temperatures) == 1 else temperatures,
        "steps": int(given.number("n_timesteps", 100, whole=True)),
    }
    seed = simulation.get("random_seed")
    if seed is not None:
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise given.fail("random_seed", f"expected a whole number from 0 to {2**32 - 1}, found {seed!r}")
        dynamics["seed"] = seed
    body = commented_yaml(
        {
            "mdflash": 1,
            "name": name,
            "system": {"structure": f"{name}/systems/{name}.safetensors"},
            "model": {"forcefield": name, "precision": "fp32" if dtype == "single" else "fp64"},
            "dynamics": dynamics,
            "replicas": {"count": len(betas)},
            "output": {"trajectory": {"interval": interval}, "log": {"interval": interval}},
        }
    )
    return "".join(f"# {line}\n" for line in _head(given, file, name, betas)) + body


def _head(given: _Input, file: Path, name: str, betas: list[float]) -> list[str]:
    """The comments: where the model comes from, and what was left out."""
    model = given.top.get("model_file", "MODEL.pt")
    structures = given.top.get("structure_file", "CONFIGURATIONS.pt")
    lines = [
        f"Translated from mlcg's {file.name}. Make the force field that it names with:",
        f"  mdflash import mlcg {model} --structures {structures} --out {name} --name {name}",
        "(--structures is not needed for a ..._specialized_model_and_config.pt)",
        f"Temperature: beta {', '.join(f'{b:g}' for b in betas)} mol/kcal.",
    ]
    if len(betas) > 1:
        lines += [
            "mlcg runs every structure at each beta; here replica i has temperature i. For n structures at each",
            "of them repeat each temperature n times and set replicas.count to their number.",
        ]
    else:
        lines += ["mlcg runs one replica per structure of its file: set replicas.count to their number."]
    left = [k for k in given.simulation if k not in _USED]
    left += [k for k in given.top if k not in ("betas", "simulation", "model_file", "structure_file")]
    if left:
        lines += ["Without counterpart in mdflash:"]
        lines += [f"  {k}: {_ABOUT.get(k, 'unknown to mdflash, left out')}" for k in left]
    return lines
