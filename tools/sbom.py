"""What a wheel of mdflash brings along, as CycloneDX JSON: `python tools/sbom.py OUT.json [--python OTHER]`.

The list is that of an environment into which nothing but the wheel was installed. Without `--python` one is made for
it, which downloads torch. Needs `cyclonedx-bom`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def fresh(folder: Path) -> Path:
    """The interpreter of an environment with mdflash alone."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-compile", "torch==2.13.0", ROOT], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", type=Path, help="of an environment that has mdflash")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mdflash-sbom-") as folder:
        python = given.python or fresh(Path(folder) / "venv")
        words = ("cyclonedx_py", "environment", "--output-reproducible", "--pyproject", ROOT / "pyproject.toml")
        subprocess.run([sys.executable, "-m", *words, "--output-file", given.out, python], check=True)
    parts = json.loads(given.out.read_text(encoding="utf-8"))["components"]
    print(f"{given.out}: {len(parts)} packages")


if __name__ == "__main__":
    main()
