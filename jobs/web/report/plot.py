"""Rate-distortion curves as SVG; the page's style sheet gives the colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 480, 372
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 10, 44
_RATES = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 4, 8, 16)
_RANGE = (0.04, 8.0)
"""Range of bits per pixel that is drawn; no archive is kept outside it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        name: of the codec.
        mark: CSS class that colours it.
        points: pairs of (bits per pixel, fidelity).
        measured: drawn solid; a published curve is dotted.
    """

    name: str
    mark: str
    points: Sequence[tuple[float, float]]
    measured: bool = True


def svg(lines: Sequence[Line], label: str, unit: str) -> Markup:
    """Curves over a logarithmic rate axis; the first curve is on top.

    Args:
        lines: at least one with a point in the drawn range.
        label: of the vertical axis.
        unit: unit of a point's value.
    """
    lines = [Line(x.name, x.mark, _drawn(x.points), x.measured) for x in lines]
    rates = [rate for line in lines for rate, _ in line.points]
    values = [value for line in lines for _, value in line.points]
    if not rates:
        return Markup("")
    across = _Axis(math.log2(min(rates)) - 0.15, math.log2(max(rates)) + 0.15, _LEFT, WIDTH - _RIGHT)
    step = _step(max(values) - min(values))
    up = _Axis(min(values) - 0.25 * step, max(values) + 0.25 * step, HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(across, up, step, label)]
    parts += [_curve(line, across, up, unit) for line in reversed(lines)]
    head = (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)} over bits per pixel">'
    )
    return Markup(head + "".join(parts) + "</svg>")


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values to coordinates."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1)
        return round(self.start + share * (self.end - self.start), 1)


def _drawn(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return sorted(point for point in points if _RANGE[0] <= point[0] <= _RANGE[1])


def _step(span: float) -> float:
    """A round distance between grid lines, for about six of them."""
    rough = max(span, 1e-6) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)


def _grid(across: _Axis, up: _Axis, step: float, label: str) -> str:
    parts = []
    for i in range(math.ceil(up.low / step), math.floor(up.high / step) + 1):
        y = up(i * step)
        parts.append(f'<path class="grid" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{i * step:g}</text>')
    for rate in _RATES:
        if across.low <= math.log2(rate) <= across.high:
            x = across(math.log2(rate))
            parts.append(f'<path class="grid" d="M{x} {_TOP}V{HEIGHT - _BOTTOM}"/>')
            parts.append(f'<text x="{x}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{rate:g}</text>')
    parts.append(f'<text class="axis" x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">')
    parts.append("bits per pixel, whole file (log scale)</text>")
    parts.append(f'<text class="axis" x="{_LEFT + 8}" y="{_TOP + 14}">{escape(label)}</text>')
    return "".join(parts)


def _curve(line: Line, across: _Axis, up: _Axis, unit: str) -> str:
    if not line.points:
        return ""
    places = [(across(math.log2(rate)), up(value)) for rate, value in line.points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    parts = [f'<g class="curve {line.mark}{"" if line.measured else " published"}"><path d="{path}"/>']
    for (x, y), (rate, value) in zip(places, line.points, strict=True):
        words = escape(f"{line.name}: {rate:.3f} bits per pixel, {value:.2f} {unit}")
        parts.append(f'<circle cx="{x}" cy="{y}" r="2.6" data-words="{words}"><title>{words}</title></circle>')
    return "".join(parts) + "</g>"
