"""An evaluation as one HTML page with its styles, script, plots and pictures; it loads nothing."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from jobs.web.report.plot import Line, svg
from jobs.web.shared import GAP, MINUS, percent, templates, text_of
from jobs.web.shared import HERE as WEB
from pipeline.evaluate.curves import delta, mean_similarity_curve, psnr_curve, similarity_curve, ssimulacra2_curve
from pipeline.evaluate.examples import View
from pipeline.evaluate.measurement import OFF_GRID, OURS, MeasuredImage
from pipeline.evaluate.points import Pixels, Point
from pipeline.evaluate.result import Evaluation, Floor
from pipeline.monitoring.formatting import duration

HERE = Path(__file__).parent
APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"
_EYES = "SSIMULACRA2"
MOST_ROWS = 300
"""Largest number of images in the table; the CSV files have all."""


def render(found: Evaluation) -> str:
    """The page as HTML."""
    script = text_of(WEB / "compare.js") + text_of(HERE / "report.js")
    names = list(found.curves)
    return (
        templates(HERE)
        .get_template("report.html.j2")
        .render(
            found=found,
            styles=Markup(text_of(WEB / "base.css") + text_of(HERE / "report.css")),
            script=Markup(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            summary=_summary(found),
            metric=_metric(found),
            off_grid=OFF_GRID,
            marks=_marks(found),
            plots=list(_plots(found)),
            rivals=[name for name in names if name != OURS],
            floors=list(_floors(found)),
            views=[_view(view, number) for number, view in enumerate(found.views)],
            speeds=list(_speeds(found)),
            rows=list(_rows(found)),
            most_rows=MOST_ROWS,
            card=Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(found.card)),
            made=datetime.now(UTC),
            took=duration(found.seconds),
            version=version("maepress"),
            ours=OURS,
        )
    )


def _summary(found: Evaluation) -> list[str]:
    """Our size compared with each measured codec, as text, by `_metric`."""
    known = {name: delta for name, delta in found.deltas.items() if name in found.curves}
    eyes = _metric(found) == _EYES
    rates = [
        (name.rsplit(" ", 1)[0], (delta.ssimulacra2 or 0.0) if eyes else delta.of_mean) for name, delta in known.items()
    ]
    return [
        f"{abs(rate):.0f}{GAP}% {'smaller' if rate < 0 else 'larger'} than {family}{APOSTROPHE}s"
        for family, rate in rates
    ]


def _metric(found: Evaluation) -> str:
    """The metric of the summary: SSIMULACRA2, which agrees better with eyes, unless a codec has no figure for it."""
    rates = [delta.ssimulacra2 for name, delta in found.deltas.items() if name in found.curves]
    return "PSNR" if None in rates else _EYES


def _marks(found: Evaluation) -> dict[str, str]:
    """CSS class of each codec's colour: c0 ours, c1, c2 ... the measured ones, p0, p1 ... the published ones."""
    published = found.published.curves if found.published else {}
    return {name: f"c{i}" for i, name in enumerate(found.curves)} | {name: f"p{i}" for i, name in enumerate(published)}


def _plots(found: Evaluation) -> Iterator[Markup]:
    marks = _marks(found)
    published = found.published.curves if found.published else {}
    alike = {name: mean_similarity_curve([image.points[name] for image in found.measured]) for name in found.curves}
    for label, unit, curve, measured in (
        (_EYES, "points of SSIMULACRA2", _positive_scores, None),
        ("PSNR, dB", "dB", psnr_curve, None),
        (f"MS-SSIM, {MINUS}10 log₁₀(1 {MINUS} x) dB", "dB of MS-SSIM", similarity_curve, alike),
    ):
        known = measured or {name: curve(points) for name, points in found.curves.items()}
        drawn = [Line(name, marks[name], points) for name, points in known.items()]
        drawn += [Line(name, marks[name], curve(points), measured=False) for name, points in published.items()]
        drawn = [line for line in drawn if line.points]
        if drawn and drawn[0].name == OURS:
            yield svg(drawn, label, unit)


def _positive_scores(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Points (rate, SSIMULACRA2); negative scores, which no one would choose, would flatten the plot."""
    return [point for point in ssimulacra2_curve(points) if point[1] > 0]


def _floors(found: Evaluation) -> Iterator[tuple[float, list[Floor], float]]:
    """Each floor with its codecs, smallest total first, and the largest saved share."""
    for level in sorted({floor.floor for floor in found.floors}):
        group = sorted((f for f in found.floors if f.floor == level), key=lambda f: f.stored)
        yield level, group, max(f.saved for f in group)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A view with its pictures as data URIs."""

    number: int
    view: View
    title: str
    original: str
    decoded: str
    jpeg: str


def _view(view: View, number: int) -> _Shown:
    ratio = view.choice.ratio
    title = "no AVIF to compare with"
    if ratio is not None:
        title = f"{percent(abs(1 - ratio))} {'smaller' if ratio < 1 else 'larger'} than AVIF at equal PSNR"
    pictures = (_data_uri(view.original), _data_uri(view.decoded), _data_uri(view.jpeg))
    return _Shown(number, view, title, *pictures)


def _data_uri(pixels: Pixels) -> str:
    """The pixels as a lossless WebP."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, method=3)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _speeds(found: Evaluation) -> Iterator[dict[str, Any]]:
    if not found.speeds:
        return
    first = found.speeds[0]
    for speed in found.speeds:
        yield {
            "speed": speed,
            "encode_ratio": speed.encode / first.encode,
            "decode_ratio": speed.decode / first.decode,
        }


def _rows(found: Evaluation) -> Iterator[dict[str, Any]]:
    """Every image with its point at the shown quality and its BD-rates."""
    for image in found.measured[:MOST_ROWS]:
        point = next(p for p in image.points[OURS] if p.quality == found.shown_quality)
        yield {"image": image, "point": point, "rates": _rates(image)}


def _rates(image: MeasuredImage) -> list[float | None]:
    own = psnr_curve(image.points[OURS])
    return [delta(psnr_curve(points), own) for name, points in image.points.items() if name != OURS]
