"""The HTML that every page is made of: one file with its styles, its script and its data inside."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdflash import __version__
from mdflash.analysis.report.figure import Figure, Table
from mdflash.analysis.report.sections.base import Section
from mdflash.analysis.report.svg import draw

LARGE = 60_000
"""Bytes of CSV text from which it is compressed inside the page."""


def escape(text: object) -> str:
    """As HTML."""
    return html.escape(str(text), quote=True)


def document(
    title: str, path: object, head: str, links: Sequence[tuple[str, str]], body: str, views: Sequence[Any] = ()
) -> str:
    """A page.

    Args:
        title: its heading.
        path: what is below it, such as a folder.
        head: HTML below that.
        links: anchors and names of the navigation.
        body: HTML of the rest.
        views: for the script, what the moving molecules need.
    """
    here = Path(__file__).parent
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    data = json.dumps([v or {} for v in views])
    data = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    menu = "".join(f'<a href="#{escape(k)}">{escape(name)}</a>' for k, name in links)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}: analysis</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body>'
        f'<header><div class="in"><h1>{escape(title)}</h1><p class="path">{escape(path)}</p>{head}</div></header>'
        f'<nav><div class="in">{menu}</div></nav><main>{body}</main>'
        f'<footer><div class="in">Made by mdflash {escape(__version__)}. This page is complete '
        "in itself and asks nothing of the network.</div></footer>"
        '<div id="tip" hidden style="position:fixed;left:50%;bottom:24px;transform:translateX(-50%);background:#1f2733;'
        'color:#fff;padding:8px 14px;border-radius:6px;font-size:14px"></div>'
        f'<script type="application/json" id="views">{data}</script><script>{script}</script></body></html>'
    )


def section(about: Section, found: Sequence[Figure], anchor: str) -> str:
    """A heading, what one wants to see, and figures."""
    return (
        f'<h2 id="{anchor}">{escape(about.title)}</h2><p class="want">What you want to see: '
        f'{escape(about.want[:1].lower() + about.want[1:])}</p><div class="grid">{"".join(map(_figure, found))}</div>'
    )


def _figure(f: Figure) -> str:
    wide = ' class="whole"' if isinstance(f, Table) else ""
    shown = table(f.head, f.rows) if isinstance(f, Table) else draw(f)
    return (
        f'<figure id="figure-{escape(f.key)}"{wide}><figcaption><h3>{escape(f.title)}</h3><p class="want">'
        f"{escape(f.want)} {_csv(f)}</p></figcaption>{shown}</figure>"
    )


def _csv(f: Figure) -> str:
    """A link to the numbers of a figure."""
    text = f.csv().encode()
    kind, name = "text/csv;charset=utf-8", f"{f.key}.csv"
    if len(text) > LARGE:
        text, kind, name = gzip.compress(text, 9, mtime=0), "application/gzip", f"{name}.gz"
    uri = f"data:{kind};base64,{base64.b64encode(text).decode()}"
    return f'<a class="csv" download="{escape(name)}" href="{uri}">CSV</a>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Text in rows; `kind`: attributes of the table."""
    top = "".join(f"<th>{escape(t)}</th>" for t in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table{kind}><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'
