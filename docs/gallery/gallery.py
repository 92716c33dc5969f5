"""The pictures of the gallery: run the commands of each, draw it, and write the page that shows them.

    make gallery
    python docs/gallery/gallery.py slab walk        # only these

To add a picture: write a script with `COMMANDS`, `SHORT` (keys of a run that takes seconds, for the tests) and `draw`,
and list it here. The first line of its docstring is what the page says of it. Runs go to build/gallery; those that are
finished there are not run again.
"""

from __future__ import annotations

import hashlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

PICTURES = ("melting", "surface", "walk", "metadynamics", "ensemble", "chains", "slab", "page")
HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = ROOT / "build" / "gallery"
DPI = 150
COLORS = 192
"""Of a picture's palette: enough for lines and bands, and a third of the bytes."""
WIDE = 78
"""Characters of a line of a command on the page."""


def load(name: str) -> Any:
    """The module of a picture."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return import_module(name)


def arguments(command: str) -> list[str]:
    """The arguments of a command of mdflash, with files of this folder wherever it is called from."""
    return [str(ROOT / word) if word.startswith("docs/gallery/") else word for word in shlex.split(command)[1:]]


def run(name: str, folder: Path) -> None:
    """Run the commands of a picture in a folder, those that are not done there."""
    folder.mkdir(parents=True, exist_ok=True)
    for command in load(name).COMMANDS:
        done = folder / f".{hash_of(command)}"
        if not done.exists():
            print(command, flush=True)
            subprocess.run([sys.executable, "-m", "mdflash", *arguments(command)], cwd=folder, check=True)
            done.touch()


def hash_of(command: str) -> str:
    """A name for a command and the files it reads."""
    files = [Path(word).read_bytes() for word in arguments(command) if word.startswith(str(HERE))]
    return hashlib.sha256(b"\0".join([command.encode(), *files])).hexdigest()[:16]


def draw(name: str, folder: Path) -> bytes:
    """A picture, of the runs in a folder, as a PNG with a palette."""
    from look import LOOK
    from matplotlib import rc_context
    from PIL import Image

    whole, small = io.BytesIO(), io.BytesIO()
    with rc_context(LOOK):
        load(name).draw(folder).savefig(whole, dpi=DPI, format="png")
    Image.open(whole).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def page(names: Sequence[str] = PICTURES) -> str:
    """The text of README.md."""
    return "\n".join(["# Gallery", "", INTRODUCTION, *(line for name in names for line in _entry(name)), ""])


INTRODUCTION = (
    "Every picture is made by the commands and the script below it, in a minute or a few;\n"
    "`make gallery` makes them all, `python docs/gallery/gallery.py slab` one of them. The runs are short, so that\n"
    "you can repeat them: look at their errors."
)


def _entry(name: str) -> Iterator[str]:
    module = load(name)
    title, _, rest = module.__doc__.splitlines()[0].partition(": ")
    sentence = rest[:1].upper() + rest[1:]
    yield from ("", f"## {title}", "", sentence, "", f"![{sentence}]({name}.png)")
    yield from ("", "```", *map(_wrapped, module.COMMANDS), "```", "")
    files = [f"[{name}.py]({name}.py)", *(f"[{f}]({f})" for f in _inputs(module.COMMANDS))]
    yield f"Drawn by {files[0]}" + (f" from {' and '.join(files[1:])}." if files[1:] else ".")


def _wrapped(command: str) -> str:
    """A command in lines that a page shows whole."""
    lines = [""]
    for part in re.split(r" (?=--)", command):
        if lines[-1] and len(lines[-1]) + len(part) > WIDE:
            lines.append("    " + part)
        else:
            lines[-1] = f"{lines[-1]} {part}" if lines[-1] else part
    return " \\\n".join(lines)


def _inputs(commands: Sequence[str]) -> list[str]:
    words = [word for command in commands for word in shlex.split(command) if word.startswith("docs/gallery/")]
    return [word.rpartition("/")[2] for word in words]


def main(names: Sequence[str]) -> None:
    """Make pictures, and the page."""
    for name in names:
        run(name, RUNS)
        data = draw(name, RUNS)
        (HERE / f"{name}.png").write_bytes(data)
        print(f"docs/gallery/{name}.png: {len(data) / 1000:.0f} kB", flush=True)
    (HERE / "README.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or PICTURES)
