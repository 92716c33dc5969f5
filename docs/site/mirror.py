"""The pages of the site: the repository's own, at their own places, and those that come from the code.

A link that works in the repository works in the site, since every page stays where it is; the files that pages link to
come along. The commands, the files' keys and the Python reference are written from what the package says of itself.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

import messages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.testing import CliRunner

import mdflash
from mdflash.cli.app import app
from mdflash.cli.schema import FILES

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "forcefields", "examples", "studies", "benchmarks", "tools")
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")
MODULES = ("mdflash.ase", "mdflash.torchsim", "mdflash.openmm", "mdflash.analysis", "mdflash.errors")
"""What is public beside `mdflash` itself."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The order of pages: that of the indexes that the repository has already."""
    reference = [
        {"Commands": "commands.md"},
        {"Files' keys": "keys.md"},
        {"Messages": "messages.md"},
        {"Python": "api/mdflash.md"},
    ]
    config.nav = [
        {"mdflash": "README.md"},
        {"Gallery": "docs/gallery/README.md"},
        {"Guide": _indexed("docs/user/README.md")},
        {"Force fields": sorted(_relative(page) for page in ROOT.glob("forcefields/*/README.md"))},
        {"Examples": ["examples/README.md", *_indexed("studies/README.md")]},
        {
            "Reference": [
                *reference,
                *({module: f"api/{module}.md"} for module in MODULES),
                "docs/forms.md",
                "docs/reliability.md",
                "SECURITY.md",
            ]
        },
        {"Develop": ["ARCHITECTURE.md", *_indexed("docs/dev/README.md"), "CONTRIBUTING.md", "benchmarks/README.md"]},
        {"Changes": "CHANGELOG.md"},
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The repository's pages, what they link to, and the pages that come from the code."""
    theme = [file for file in files if not Path(file.abs_src_path or "").is_relative_to(config.docs_dir)]
    pages = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    own = {_relative(page): page for page in sorted(pages)}
    written = {"commands.md": _commands(), "keys.md": _keys(), "messages.md": messages.page(), **dict(_api())}
    for page in list(own.values()):
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            inside = sorted(file for file in path.glob("*.*") if file.is_file()) if path.is_dir() else []
            if inside and not (path / "README.md").is_file():
                own |= {_relative(file): file for file in inside}
                listed = "".join(f"- [{file.name}]({file.name})\n" for file in inside)
                written[f"{_relative(path)}/README.md"] = f"# {_relative(path)}\n\n{listed}"
            elif "://" not in target and path.is_file():
                own[_relative(path)] = path
    return Files(
        [
            *theme,
            *(File.generated(config, uri, abs_src_path=str(path)) for uri, path in own.items()),
            *(File.generated(config, uri, content=text) for uri, text in written.items()),
        ]
    )


def on_page_markdown(markdown: str, page: object, config: MkDocsConfig, files: Files) -> str:
    """A link to a folder leads to its README."""
    here = posixpath.dirname(page.file.src_uri)  # type: ignore[attr-defined]

    def readme(link: re.Match[str]) -> str:
        inside = posixpath.normpath(posixpath.join(here, link[1], "README.md"))
        return posixpath.join(link[1], "README.md") if inside in files.src_uris else link[1]

    return LINK.sub(readme, markdown)


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _indexed(index: str) -> list[str]:
    """An index, and the pages that it links to below it, in its order."""
    folder = (ROOT / index).parent
    linked = (folder / target for target in LINK.findall((ROOT / index).read_text(encoding="utf-8")))
    pages = (page / "README.md" if page.is_dir() else page for page in linked)
    below = [page for page in pages if page.suffix == ".md" and page.is_file() and ".." not in page.parts]
    return list(dict.fromkeys([index, *(_relative(page) for page in below)]))


def _commands() -> str:
    """The command line, as `--help` says it."""
    app.rich_markup_mode = None
    helped = {"mdflash": _help()}
    verbs = re.findall(r"^  ([a-z]+)  ", helped["mdflash"].partition("Commands:")[2], re.MULTILINE)
    helped |= {f"mdflash {verb}": _help(verb) for verb in verbs}
    return "# Commands\n" + "".join(f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in helped.items())


def _help(*verb: str) -> str:
    return CliRunner().invoke(app, [*verb, "--help"], terminal_width=80).stdout.strip("\n")


def _keys() -> str:
    """Every key of every file, as `mdflash schema` prints them."""
    said = {file: CliRunner().invoke(app, ["schema", file]).stdout for file in FILES}
    return "# Files' keys\n" + "".join(f"\n## {FILES[file]}\n\n```yaml\n{text}```\n" for file, text in said.items())


def _api() -> Iterator[tuple[str, str]]:
    """A page for each public module."""
    homes = {name: getattr(mdflash, name).__module__ for name in sorted(mdflash.__all__) if name != "__version__"}
    homes = {name: home for name, home in homes.items() if home not in MODULES}
    yield "api/mdflash.md", "# mdflash\n\nWhat `from mdflash import ...` offers.\n\n" + _blocks(homes)
    for module in MODULES:
        loaded = import_module(module)
        public = [name for name in getattr(loaded, "__all__", dir(loaded)) if not name.startswith("_")]
        found = {name: getattr(getattr(loaded, name), "__module__", "") for name in public}
        own = {name: home for name, home in found.items() if home.startswith(module)}
        yield f"api/{module}.md", f"# {module}\n\n{loaded.__doc__}\n\n" + _blocks(own)


def _blocks(homes: Mapping[str, str]) -> str:
    """What mkdocstrings turns into the description of each name."""
    return "\n".join(f"::: {home}.{name}\n" for name, home in homes.items())
