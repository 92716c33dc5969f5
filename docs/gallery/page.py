"""The page of a run: one file with a verdict, its reasons and the molecule, here of the ladder above."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.image import imread
from melting import COMMANDS as LADDER
from melting import SHORT as SHORT

COMMANDS = (*LADDER, "mdflash analyze ladder")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = (1200, 1300)
ELSEWHERE = "/home/you/runs"
"""What the picture shows instead of the folder of whoever makes it."""


def browser() -> str | None:
    """A browser that takes pictures."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def draw(runs: Path) -> Figure:
    """What a browser shows first."""
    program = browser()
    if program is None:
        raise SystemExit(f"this picture needs a browser: {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        shot, page = Path(folder) / "page.png", Path(folder) / "report.html"
        text = (runs / "ladder/analysis/report.html").read_text(encoding="utf-8")
        page.write_text(text.replace(str(runs.absolute()), ELSEWHERE), encoding="utf-8")
        subprocess.run(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", "--virtual-time-budget=3000", f"--window-size={SIZE[0]},{SIZE[1]}",
             f"--screenshot={shot}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        pixels = imread(shot)
    figure = Figure(figsize=(SIZE[0] / 150, SIZE[1] / 150))
    figure.figimage(pixels, resize=False)
    return figure
