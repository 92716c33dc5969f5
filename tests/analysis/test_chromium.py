"""The page in a browser: no message in its console, the molecule drawn, a click that changes the frame."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import mdflash
from mdflash.analysis.report.page import page
from tests.analysis.test_analyze import PLAIN, make

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLICK = """<script>addEventListener("load", () => setTimeout(() => {
  const view = document.querySelector("[data-view]"), root = document.documentElement;
  const c = view.querySelector("canvas"), drawn = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  root.dataset.painted = drawn.some(x => x > 0) ? "yes" : "no";
  root.dataset.before = view.dataset.frame;
  const s = document.querySelector('svg[data-link="time"]'), r = s.getBoundingClientRect();
  const at = {clientX: r.left + 0.7 * r.width, clientY: r.top + 0.5 * r.height, bubbles: true};
  s.dispatchEvent(new MouseEvent("click", at));
  root.dataset.after = view.dataset.frame;
  root.dataset.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
}, 300))</script>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_in_a_browser(tmp_path: Path, width: int) -> None:
    assert BROWSER is not None
    run = make(tmp_path, PLAIN, count=3, steps=4000, format="xtc")
    file = tmp_path / "page.html"
    file.write_text(page(mdflash.open_run(run).analyze()).replace("</body>", f"{CLICK}</body>"), encoding="utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--virtual-time-budget=3000",
    ]
    done = subprocess.run(
        [BROWSER, *options, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", "--dump-dom",
         file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    found = dict(re.findall(r'data-(\w+)="([^"]*)"', done.stdout[: done.stdout.index(">", 20)]))
    assert found["ready"] == "yes" and found["painted"] == "yes", found
    assert found["before"] == "0" and int(found["after"]) > 20 and int(found["wide"]) <= 0, found
