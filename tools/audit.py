"""Known vulnerabilities of what mdflash needs: `pip-audit` on the environment that runs this, less what is explained.

Exit code 1 where there is one that `EXPLAINED` does not hold. Needs `pip-audit`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from typing import Final

EXPLAINED: Final[dict[str, str]] = {}
"""By the name of a vulnerability: why it cannot be used against mdflash."""


def needed(name: str = "mdflash") -> set[str]:
    """The packages that a user gets with mdflash, without its extras."""
    found, todo = set[str](), [name]
    while todo:
        package = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if package in found:
            continue
        try:
            lines = metadata.requires(package) or []
        except metadata.PackageNotFoundError:  # of another platform
            continue
        found.add(package)
        todo += [re.split(r"[^\w.-]", line)[0] for line in lines if "extra ==" not in line]
    return found - {name}


def main() -> None:
    packages = {name: metadata.version(name) for name in sorted(needed())}
    listed = "".join(f"{name}=={version.split('+')[0]}\n" for name, version in packages.items())
    words = ("pip_audit", "--no-deps", "--disable-pip", "--format", "json", "--requirement", "/dev/stdin")
    done = subprocess.run([sys.executable, "-m", *words], input=listed, capture_output=True, text=True)
    if not done.stdout:
        sys.exit(f"pip-audit could not ask: {done.stderr.strip().splitlines()[-1]}")
    bad, found = 0, json.loads(done.stdout)["dependencies"]
    if unknown := [package["name"] for package in found if "skip_reason" in package]:
        sys.exit(f"the package index knows no advisories of {', '.join(unknown)}: ask one that does (PIP_INDEX_URL)")
    for package in found:
        for flaw in package.get("vulns", ()):
            names = {flaw["id"], *flaw["aliases"]}
            why = next((EXPLAINED[name] for name in names if name in EXPLAINED), None)
            bad += why is None
            fixed = ", ".join(flaw["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {', '.join(sorted(names))}, fixed in {fixed}: {why or '?'}")
    print(f"{len(packages)} packages, {bad} vulnerabilities that are not explained")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
