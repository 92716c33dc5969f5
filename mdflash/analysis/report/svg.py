"""Figures as SVG: no library, so a page needs none, and prints."""

from __future__ import annotations

import base64
import html
import json
import math
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mdflash.analysis.report.colors import LINES, paint
from mdflash.analysis.report.figure import Drawing, Line, Map, Plot
from mdflash.core.types import FloatArray

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 68.0, 14.0, 12.0, 46.0
BAR = 84.0
"""Width of a color bar with its labels."""
NEAR = 1e-4
"""Of the distance of ticks, by which one may lie beyond an end: an end is often a round number, rounded."""
STYLE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#3b4252}"
    ".axis{stroke:#9aa3af;stroke-width:1;fill:none}.rule{stroke:#e8ebef;stroke-width:1}"
)


def draw(figure: Drawing, alone: bool = False) -> str:
    """The SVG of a figure; `alone`: as a file of its own."""
    body, width, height = _plot(figure) if isinstance(figure, Plot) else _map(figure)
    data = ""
    if figure.link:
        data = f' data-link="{figure.link}" data-names="{html.escape(json.dumps(figure.names))}"'
    xmlns = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    style = f"<style>{STYLE}</style>" if alone else ""
    label = html.escape(figure.title, quote=True)
    return f'<svg{xmlns} viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}"{data}>{style}{body}</svg>'


def ticks(low: float, high: float, most: int = 6, whole: bool = False) -> list[float]:
    """Round numbers from low to high; `whole` ones."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    if whole:
        step = float(next((m for m in (1, 2, 5, 10, 20, 50, 100, 200, 500) if m >= raw), math.ceil(raw)))
    first = math.ceil(low / step - NEAR)
    return [k * step for k in range(first, math.floor(high / step + NEAR) + 1)]


def number(value: float) -> str:
    """As short as it can be."""
    if value == 0 or abs(value) < 1e-12:
        return "0"
    if abs(value) >= 1e5 or abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:.6g}"


class _Frame:
    """The box of the axes, and where numbers are in it."""

    def __init__(self, box: tuple[float, float, float, float], x: tuple[float, float], y: tuple[float, float]) -> None:
        self.left, self.top, self.width, self.height = box
        self.x, self.y = x, y

    def px(self, x: FloatArray) -> FloatArray:
        return np.asarray(self.left + (x - self.x[0]) / (self.x[1] - self.x[0]) * self.width)

    def py(self, y: FloatArray) -> FloatArray:
        return np.asarray(self.top + (self.y[1] - y) / (self.y[1] - self.y[0]) * self.height)

    def attributes(self) -> str:
        """For the script of the page."""
        numbers = [self.left, self.top, self.width, self.height, *self.x, *self.y]
        return " ".join(f"{v:.6g}" for v in numbers)

    def axes(self, f: Drawing, rows: Sequence[str] = ()) -> str:
        """Ticks and labels, and for a plot thin lines behind it."""
        parts = []
        grid = isinstance(f, Plot)
        bottom = self.top + self.height
        for t in ticks(*self.x, max(3, int(self.width / 75)), f.whole):
            p = float(self.px(np.array(t)))
            if grid:
                parts.append(f'<line class="rule" x1="{p:.1f}" x2="{p:.1f}" y1="{self.top:g}" y2="{bottom:g}"/>')
            parts.append(f'<text x="{p:.1f}" y="{bottom + 17:g}" text-anchor="middle">{number(t)}</text>')
        if rows:
            step = max(1, -(-len(rows) // 12))
            marks = [(k + 0.5, rows[k]) for k in range(0, len(rows), step)]
        else:
            marks = [(t, number(t)) for t in ticks(*self.y, max(3, int(self.height / 45)), f.whole and not grid)]
        for t, text in marks:
            p = float(self.py(np.array(t)))
            if grid:
                parts.append(
                    f'<line class="rule" x1="{self.left:g}" x2="{self.left + self.width:g}" y1="{p:.1f}" y2="{p:.1f}"/>'
                )
            parts.append(f'<text x="{self.left - 7:g}" y="{p + 4:.1f}" text-anchor="end">{html.escape(text)}</text>')
        middle = self.top + self.height / 2
        parts.append(
            f'<text x="{self.left + self.width / 2:g}" y="{bottom + 37:g}" text-anchor="middle">'
            f"{html.escape(f.x_label)}</text>"
            f'<text transform="translate(13 {middle:g}) rotate(-90)" text-anchor="middle">'
            f"{html.escape(f.y_label)}</text>"
        )
        return "".join(parts)

    def border(self) -> str:
        return (
            f'<rect class="axis" x="{self.left:g}" y="{self.top:g}" width="{self.width:g}" height="{self.height:g}"/>'
        )


def _range(values: Sequence[FloatArray], given: tuple[float, float] | None, margin: float) -> tuple[float, float]:
    if given is not None and given[1] > given[0]:
        return given
    every = np.concatenate([np.asarray(v, np.float64).ravel() for v in values] or [np.zeros(0)])
    every = every[np.isfinite(every)]
    if not len(every):
        return 0.0, 1.0
    low, high = float(every.min()), float(every.max())
    if low == high:
        return low - 0.5, high + 0.5
    pad = margin * (high - low)
    return low - pad, high + pad


def _plot(f: Plot) -> tuple[str, float, float]:
    margin = 0.02 if any(line.style == "points" for line in f.lines) else 0.0
    x = _range([line.x for line in f.lines], f.x_range, margin)
    y = _range([v for line in f.lines for v in (line.y, line.low, line.high) if v is not None], f.y_range, 0.06)
    named = [line for line in f.lines if line.name]
    rows = _legend_rows(named)
    top = TOP + 18.0 * len(rows)
    frame = _Frame((LEFT, top, WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM), x, y)
    clip = f"c-{f.key}"
    parts = [
        f'<clipPath id="{clip}"><rect x="{frame.left:g}" y="{frame.top:g}" width="{frame.width:g}" '
        f'height="{frame.height:g}"/></clipPath>',
        _legend(rows),
        frame.axes(f),
        f'<g class="frame" data-frame="{frame.attributes()}" clip-path="url(#{clip})">',
        *(_band(frame, line) for line in f.lines if line.low is not None),
        *(_curve(frame, line) for line in f.lines),
    ]
    for at, label in f.marks:
        if x[0] <= at <= x[1]:
            p = float(frame.px(np.array(at)))
            anchor, shift = ("end", -5) if p > frame.left + 0.7 * frame.width else ("start", 5)
            parts.append(
                f'<line x1="{p:.1f}" x2="{p:.1f}" y1="{frame.top:g}" y2="{frame.top + frame.height:g}" '
                f'stroke="#6b7280" stroke-dasharray="4 3"/><text x="{p + shift:.1f}" y="{frame.top + 14:g}" '
                f'text-anchor="{anchor}">{html.escape(label)}</text>'
            )
    parts.append("</g>")
    parts.append(frame.border())
    return "".join(parts), WIDTH, HEIGHT + 18.0 * len(rows)


def _legend_rows(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines of the legend, as many in a row as fit."""
    rows: list[list[Line]] = []
    room = 0.0
    for line in lines:
        need = 38.0 + 7.4 * len(line.name)
        if need > room:
            rows.append([])
            room = WIDTH - LEFT - RIGHT
        rows[-1].append(line)
        room -= need
    return rows


def _legend(rows: Sequence[Sequence[Line]]) -> str:
    parts = []
    for k, row in enumerate(rows):
        x, y = LEFT, TOP + 18.0 * k
        for line in row:
            color = line.paint or LINES[line.color % len(LINES)]
            dash = ' stroke-dasharray="5 3"' if line.style == "dashed" else ""
            mark = (
                f'<circle cx="{x + 9:g}" cy="{y:g}" r="3.2" fill="{color}"/>'
                if line.style == "points"
                else f'<line x1="{x:g}" x2="{x + 18:g}" y1="{y:g}" y2="{y:g}" stroke="{color}" '
                f'stroke-width="2.4"{dash}/>'
            )
            parts.append(f'{mark}<text x="{x + 23:g}" y="{y + 4:g}">{html.escape(line.name)}</text>')
            x += 38.0 + 7.4 * len(line.name)
    return "".join(parts)


def _path(frame: _Frame, x: FloatArray, y: FloatArray) -> str:
    px, py = frame.px(x), frame.py(y)
    good = np.isfinite(px) & np.isfinite(py)
    parts, pen = [], False
    for a, b, ok in zip(px, py, good, strict=True):
        if ok:
            parts.append(f"{'L' if pen else 'M'}{a:.1f} {b:.1f}")
        pen = bool(ok)
    return "".join(parts)


def _band(frame: _Frame, line: Line) -> str:
    assert line.low is not None and line.high is not None
    color = line.paint or LINES[line.color % len(LINES)]
    if line.style == "points":
        px, low, high = frame.px(line.x), frame.py(line.low), frame.py(line.high)
        good = np.isfinite(low) & np.isfinite(high)
        return "".join(
            f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{b:.1f}" y2="{c:.1f}" stroke="{color}" stroke-width="1.3"/>'
            for a, b, c in zip(px[good], low[good], high[good], strict=True)
        )
    good = np.isfinite(line.low) & np.isfinite(line.high)
    parts = []
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        x = np.concatenate([line.x[a:b], line.x[a:b][::-1]])
        y = np.concatenate([line.low[a:b], line.high[a:b][::-1]])
        parts.append(f'<path d="{_path(frame, x, y)}Z" fill="{color}" fill-opacity=".18"/>')
    return "".join(parts)


def _curve(frame: _Frame, line: Line) -> str:
    color = line.paint or LINES[line.color % len(LINES)]
    if line.style == "points":
        px, py = frame.px(line.x), frame.py(line.y)
        good = np.isfinite(px) & np.isfinite(py)
        return "".join(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{color}"/>' for a, b in zip(px[good], py[good], strict=True)
        )
    x, y = line.x, line.y
    if line.style == "steps":
        x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
    dash = ' stroke-dasharray="5 3"' if line.style == "dashed" else ""
    look = f'fill="none" stroke="{color}" stroke-width="1.8" stroke-linejoin="round"{dash}'
    return f'<path d="{_path(frame, x, y)}" {look}/>'


def _map(f: Map) -> tuple[str, float, float]:
    width = WIDTH - LEFT - RIGHT - BAR
    height = width if f.square else HEIGHT - TOP - BOTTOM
    if f.rows:
        height = min(max(190.0, 15.0 * len(f.rows)), 330.0)
    if f.square:
        height = width = min(width, 340.0)
    x = (float(f.x_edges[0]), float(f.x_edges[-1]))
    y = (0.0, float(len(f.rows))) if f.rows else (float(f.y_edges[0]), float(f.y_edges[-1]))
    frame = _Frame((LEFT, TOP, width, height), x, y)
    low, high = _range([f.z], f.z_range, 0.0)
    scaled = (f.z - low) / (high - low)
    image = png(paint(scaled[::-1], f.palette))
    ramp = png(paint(np.linspace(1.0, 0.0, 128)[:, None], f.palette))
    bar = frame.left + frame.width + 16.0
    parts = [
        frame.axes(f, f.rows),
        f'<g class="frame" data-frame="{frame.attributes()}"><rect x="{frame.left:g}" y="{frame.top:g}" '
        f'width="{frame.width:g}" height="{frame.height:g}" fill="#e9ecf0"/>'
        f'<image x="{frame.left:g}" y="{frame.top:g}" width="{frame.width:g}" height="{frame.height:g}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" href="{image}"/></g>',
        frame.border(),
        f'<image x="{bar:g}" y="{frame.top:g}" width="12" height="{frame.height:g}" preserveAspectRatio="none" '
        f'href="{ramp}"/>',
    ]
    for t in ticks(low, high, 5):
        p = frame.top + (high - t) / (high - low) * frame.height
        parts.append(f'<text x="{bar + 17:g}" y="{p + 4:.1f}">{number(t)}</text>')
    middle = frame.top + frame.height / 2
    parts.append(
        f'<text transform="translate({bar + 63:g} {middle:g}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(f.z_label)}</text>"
    )
    return "".join(parts), frame.left + frame.width + BAR + RIGHT, frame.top + frame.height + BOTTOM


def png(pixels: npt.NDArray[np.uint8]) -> str:
    """[H, W, 4] as the URI of a PNG."""
    height, width = pixels.shape[:2]
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
    return "data:image/png;base64," + base64.b64encode(data + chunk(b"IEND", b"")).decode()
