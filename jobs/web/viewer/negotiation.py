"""What a request asks for: the form of an image by `format=` and `width=`, or by the Accept header (RFC 9110)."""

from starlette.exceptions import HTTPException
from starlette.requests import Request

from jobs.web.viewer.catalogue import Row
from jobs.web.viewer.renditions import KINDS, LARGEST, MEDIA, SMALLEST, SOURCE_MEDIA, Kind, Wanted
from pipeline.archive.schema import COMPRESSED

SHOWN: tuple[Kind, ...] = ("avif", "webp", "jpeg", "png")
"""Formats that are made for browsers, the smallest files first: that order decides between equal weights."""


def wanted(request: Request, row: Row, *, from_source: bool) -> Wanted:
    """The form of an image that a request asks for.

    Raises:
        HTTPException: 400 for an unknown format or a width out of range, 406 where the client accepts no form.
    """
    kinds = SHOWN if from_source else KINDS
    width = request.query_params.get("width")
    kind = request.query_params.get("format")
    if kind is None:
        kind = _by_header(request.headers.get("accept", ""), row, whole=width is None and not from_source)
    if kind not in kinds:
        raise HTTPException(400, f"format={kind[:40]} is unknown: choose {', '.join(kinds)}")
    if width is None:
        return Wanted(kind, None, from_source)
    if not (width.isascii() and width.isdigit() and len(width) < 6 and SMALLEST <= int(width) <= LARGEST):
        raise HTTPException(400, f"width must be a whole number from {SMALLEST} to {LARGEST}")
    if kind in ("mae", "source"):
        raise HTTPException(400, f"format={kind} has no width")
    return Wanted(kind, int(width), from_source)


def _by_header(accept: str, row: Row, *, whole: bool) -> str:
    """The format for a request that names none.

    A form that the client names, or the kept source where its type is accepted; else WebP, as a wildcard alone does not
    say that a client knows AVIF.
    """
    kept = whole and row["status"] not in COMPRESSED
    weights = weights_of(accept)
    offers = {MEDIA[kind]: str(kind) for kind in SHOWN if MEDIA[kind] in weights}
    if kept:
        own = f"image/{row['source_format']}" if row["source_format"] in SOURCE_MEDIA else "application/octet-stream"
        offers = {own: "source"} | {media: kind for media, kind in offers.items() if media != own}
    best = max(offers, key=lambda media: weight(media, weights), default="")  # of equal ones the first
    if best and weight(best, weights) > 0:
        return offers[best]
    if weights and weight(MEDIA["webp"], weights) <= 0:
        raise HTTPException(406, f"an image comes as {', '.join(MEDIA[kind] for kind in SHOWN)}")
    return "source" if kept else "webp"


def weights_of(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header with their weights, 0 to 1; what cannot be read is left out."""
    found: dict[str, float] = {}
    for part in accept.split(","):
        media, *parameters = (word.strip().lower() for word in part.split(";"))
        q = next((word[2:].strip() for word in parameters if word.startswith("q=")), "1")
        try:
            weight_ = float(q)
        except ValueError:
            continue
        if "/" in media and 0 <= weight_ <= 1:
            found[media] = weight_
    return found


def weight(media: str, weights: dict[str, float]) -> float:
    """The weight of a media type: that of the most specific range, 0 for what no range names."""
    ranges = (media, f"{media.split('/')[0]}/*", "*/*")
    return next((weights[range_] for range_ in ranges if range_ in weights), 0.0)
