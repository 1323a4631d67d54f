"""The viewer as an ASGI app: pages, and images at stable addresses.

    GET /                totals, folders, a page of thumbnails    ?prefix= ?q= ?after=
    GET /view/KEY        one image at full size, with its data
    GET /image/KEY       the image             ?format=webp|png|jpeg|avif|mae|source ?width= ?download=1
    GET /original/KEY    its source, if there is one              ?format=webp|png|jpeg|avif ?width=
    GET /rejections      rejected objects with their reasons      ?reason=
    GET /duplicates      images that are there more than once     ?kind=exact|near ?after=
    GET /healthz         "ok", or 503 where the archive cannot be read
    GET /metrics         for Prometheus

Without `format` the Accept header chooses. With a key in the environment, only signed addresses of images are answered
(`jobs.web.viewer.signing`).

Any ASGI server runs it, also Ray Serve (`serve.ingress(app)`). A request can only select rows of the archive's tables,
so no address leads to another file.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from jobs.framework.settings import redact
from jobs.web.shared import HERE as WEB
from jobs.web.shared import templates, text_of
from jobs.web.viewer.catalogue import MOST_FOLDERS, Catalogue, Row
from jobs.web.viewer.headers import Guard
from jobs.web.viewer.links import crumbs, link
from jobs.web.viewer.negotiation import wanted
from jobs.web.viewer.renditions import LARGEST, SMALLEST, NotFound, NotShown, Rendition, Studio, Wanted, tag_of
from jobs.web.viewer.signing import SignedOnly
from jobs.web.viewer.watching import MEDIA_TYPE, Requests, ViewerMetrics
from model.core.errors import MaepressError
from pipeline.archive.schema import AFTER_ANALYSIS, COMPRESSED, LATENT
from pipeline.duplicates.result import Copy
from pipeline.sources.open import open_source
from pipeline.storage.base import StorageError

HERE = Path(__file__).parent
PAGE = 48
"""Thumbnails per page."""
GROUPS, GROUP_IMAGES = 12, 12
"""Groups of duplicates per page, and images of a group that are shown."""
THUMBNAIL, LARGE = 360, 1600
"""Widths in pixels."""
_MOST_TEXT = 2048
_QUERIES = 4
_ALIKE = 6
"""Keys that the page for an unknown one names."""
_KEPT_SECONDS = 300
Answer = TypeVar("Answer")


def make_app(
    archive: str,
    *,
    source: str | None = None,
    workers: int | None = None,
    cache_bytes: int = 256 << 20,
    hosts: Collection[str] = (),
    url_key: bytes | None = None,
) -> Starlette:
    """The viewer of one archive, as an ASGI app.

    Args:
        archive: its URL.
        source: URL of the place that the images came from, shown beside them; None: not shown.
        workers: images decoded at once; None: one per core.
        cache_bytes: memory for images encoded for browsers.
        hosts: accepted values of the Host header; empty: any.
        url_key: key of signed addresses; where it is given, nothing else is answered.

    Raises:
        MaepressError: when there is no archive, or the source cannot be opened.
    """
    catalogue = Catalogue(archive)
    store = open_source(source) if source else None
    studio = Studio(catalogue, store, workers or len(os.sched_getaffinity(0)), cache_bytes)
    counts = ViewerMetrics()
    viewer = _Viewer(catalogue, studio, bool(source), counts)
    signed = [Middleware(SignedOnly, key=url_key)] if url_key else []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        viewer.close()

    return Starlette(
        routes=[
            Route("/", viewer.home),
            Route("/view", viewer.view),
            Route("/view/{key:path}", viewer.view),
            Route("/image", viewer.image),
            Route("/image/{key:path}", viewer.image),
            Route("/original", viewer.original),
            Route("/original/{key:path}", viewer.original),
            Route("/rejections", viewer.rejections),
            Route("/duplicates", viewer.duplicates),
            Route("/static/{name}", viewer.static),
            Route("/healthz", viewer.health),
            Route("/metrics", viewer.metrics),
        ],
        middleware=[Middleware(Guard, hosts=hosts), Middleware(Requests, state=counts), *signed],
        exception_handlers={HTTPException: viewer.refused, MaepressError: viewer.failed},
        lifespan=lifespan,
    )


class _Viewer:
    """The request handlers."""

    def __init__(self, catalogue: Catalogue, studio: Studio, has_source: bool, counts: ViewerMetrics) -> None:
        self._catalogue, self._studio, self._has_source, self._counts = catalogue, studio, has_source, counts
        self._queries = ThreadPoolExecutor(_QUERIES, "query")
        self._templates = templates(HERE)
        self._templates.globals |= {"link": link, "home": _home, "archive": redact(catalogue.archive.url)}
        self._static = {
            "viewer.css": (text_of(WEB / "base.css") + text_of(HERE / "viewer.css"), "text/css"),
            "icon.svg": (text_of(HERE / "icon.svg"), "image/svg+xml"),
            "viewer.js": (text_of(WEB / "compare.js") + text_of(HERE / "viewer.js"), "text/javascript"),
        }

    def close(self) -> None:
        self._studio.close()
        self._queries.shutdown(wait=False, cancel_futures=True)

    async def home(self, request: Request) -> Response:
        prefix, text, after = (_text(request, name) for name in ("prefix", "q", "after"))
        totals = await self._ask(self._catalogue.status)
        folders = [] if text else await self._ask(self._catalogue.folders, prefix)
        rows = await self._ask(self._catalogue.page, prefix, text, after, PAGE + 1)
        return self._page(
            "home.html.j2",
            totals=totals,
            prefix=prefix,
            text=text,
            after=after,
            crumbs=crumbs(prefix),
            folders=[f for f in folders[:MOST_FOLDERS] if f.name],
            more_folders=len(folders) > MOST_FOLDERS,
            below=folders,
            rows=rows[:PAGE],
            following=rows[PAGE - 1]["key"] if len(rows) > PAGE else None,
            thumbnail=THUMBNAIL,
            shows=_shows,
        )

    async def view(self, request: Request) -> Response:
        key = _key(request)
        row = await self._ask(self._catalogue.facts, key) if key else None
        if row is None:
            return await self._unknown(key)
        before, after = await self._ask(self._catalogue.neighbours, key)
        natural = min(LARGE, row["width"])
        return self._page(
            "view.html.j2", row=row, natural=natural, width=max(SMALLEST, natural), shows=_shows(row),
            whole=max(SMALLEST, min(LARGEST, max(row["width"], row["height"]))), latent=row["status"] == LATENT,
            compressed=row["status"] in COMPRESSED,
            has_source=self._has_source, crumbs=crumbs(row["key"])[:-1], before=before, after=after,
        )  # fmt: skip

    async def _unknown(self, key: str) -> Response:
        """The page for a key that is no row: why, and what there is instead."""
        reason = (await self._ask(self._catalogue.rejections)).get(key)
        message = f"The archive has no image {key[:200]!r}." if key else "This address names no image."
        if reason is not None:
            message += f" It was rejected: {reason}."
        name = key.rpartition("/")[2]
        stem = name.rpartition(".")[0] or name
        alike = await self._ask(self._catalogue.page, "", stem, "", _ALIKE) if stem else []
        near = [found for found in await self._ask(self._catalogue.neighbours, key) if found] if key else []
        return self._missing(message, keys=[row["key"] for row in alike] or near, alike=bool(alike))

    async def image(self, request: Request) -> Response:
        row = await self._facts(request)
        return await self._answer(request, row, wanted(request, row, from_source=False))

    async def original(self, request: Request) -> Response:
        row = await self._facts(request)
        if not self._has_source:
            raise HTTPException(404, "there is no source here: start the viewer with --source")
        return await self._answer(request, row, wanted(request, row, from_source=True))

    async def rejections(self, request: Request) -> Response:
        reason, after = _text(request, "reason"), _text(request, "after")
        refused = await self._ask(self._catalogue.rejections)
        keys = [key for key, why in refused.items() if (not reason or why == reason) and key > after]
        return self._page(
            "rejections.html.j2",
            counts=Counter(refused.values()).most_common(),
            reason=reason,
            rows=[(key, refused[key]) for key in keys[: 4 * PAGE]],
            following=keys[4 * PAGE - 1] if len(keys) > 4 * PAGE else None,
            urlencode=urlencode,
        )

    async def duplicates(self, request: Request) -> Response:
        near, after = _text(request, "kind") == "near", _text(request, "after")
        if after and not (after.isascii() and after.isdigit() and len(after) < 6):
            raise HTTPException(400, "after must be the number of a group")
        found = await self._ask(self._catalogue.duplicates)
        groups = found.near_groups if near else found.exact_groups
        begin = int(after or 0)
        end = begin + GROUPS
        return self._page(
            "duplicates.html.j2", found=found, near=near, groups=groups[begin:end], most=GROUP_IMAGES,
            shows=_shows_copy, following=end if len(groups) > end else None, thumbnail=THUMBNAIL, urlencode=urlencode,
        )  # fmt: skip

    async def static(self, request: Request) -> Response:
        try:
            text, media = self._static[request.path_params["name"]]
        except KeyError:
            raise HTTPException(404, "there is no such file") from None
        return Response(text, media_type=media, headers={"cache-control": "no-cache"})

    async def health(self, request: Request) -> Response:
        """Whether the archive can be read now; a failure is answered by `failed`, with status 503."""
        await self._ask(self._catalogue.version)
        return PlainTextResponse("ok\n", headers={"cache-control": "no-store"})

    async def metrics(self, request: Request) -> Response:
        totals, (_, changed) = await self._ask(self._catalogue.status), await self._ask(self._catalogue.version)
        text = self._counts.text(totals, changed, self._studio.making, self._studio.cached_bytes)
        return PlainTextResponse(text, media_type=MEDIA_TYPE, headers={"cache-control": "no-store"})

    async def refused(self, request: Request, error: Exception) -> Response:
        """The answer to a bad request: a page for pages, a line of text for images."""
        assert isinstance(error, HTTPException)
        if error.status_code == 404 and not _is_file(request):
            return self._missing(f"There is no page at {request.url.path[:200]}.")
        return self._error(request, error.status_code, error.detail)

    async def failed(self, request: Request, error: Exception) -> Response:
        """The answer to a `MaepressError`, with its message."""
        status = 404 if isinstance(error, NotFound) else 415 if isinstance(error, NotShown) else 500
        return self._error(request, 503 if isinstance(error, StorageError) else status, redact(str(error)))

    def _error(self, request: Request, status: int, text: str) -> Response:
        if _is_file(request):
            return PlainTextResponse(text + "\n", status)
        return self._page("error.html.j2", status_code=status, message=text, keys=(), alike=False, missing=False)

    def _missing(self, message: str, keys: Sequence[str] = (), *, alike: bool = False) -> Response:
        """A page with status 404 that leads on: to keys that are like the wrong one, or near it."""
        words = {"message": message, "keys": keys, "alike": alike, "missing": True}
        return self._page("error.html.j2", status_code=404, **words)

    async def _facts(self, request: Request) -> Row:
        key = _key(request)
        row = await self._ask(self._catalogue.facts, key) if key else None
        if row is None:
            raise HTTPException(404, f"the archive has no image {key[:200]!r}")
        return row

    async def _answer(self, request: Request, row: Row, wanted: Wanted) -> Response:
        tag = tag_of(row, wanted)
        headers = {"etag": tag, "cache-control": f"private, max-age={_KEPT_SECONDS}"}
        if "format" not in request.query_params:
            headers["vary"] = "accept"
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers=headers)
        made = await self._studio.get(row, tag, wanted)
        headers["etag"] = made.tag
        if "download" in request.query_params:
            headers["content-disposition"] = _attachment(row, made)
        return Response(made.data, media_type=made.media_type, headers=headers)

    async def _ask(self, question: Callable[..., Answer], *words: Any) -> Answer:
        """Ask the catalogue in a thread of its own pool, so that the question waits for no image that is decoded."""
        return await asyncio.get_running_loop().run_in_executor(self._queries, question, *words)

    def _page(self, name: str, status_code: int = 200, **values: Any) -> Response:
        text = self._templates.get_template(name).render(status_code=status_code, **values)
        return HTMLResponse(text, status_code, headers={"cache-control": "no-cache"})


def _key(request: Request) -> str:
    key: str = request.path_params.get("key") or request.query_params.get("key", "")
    return key


def _is_file(request: Request) -> bool:
    """Whether an address is that of a file, which gets a line of text instead of a page when it is not there."""
    return request.url.path.split("/")[1] in ("image", "original", "static", "healthz", "metrics")


def _text(request: Request, name: str) -> str:
    text = request.query_params.get(name, "")
    if len(text) > _MOST_TEXT:
        raise HTTPException(400, f"{name} is longer than {_MOST_TEXT} characters")
    return text


def _home(**parameters: str) -> str:
    """The address of a folder, of a search, or of a page of these."""
    given = {name: value for name, value in parameters.items() if value}
    return f"/?{urlencode(given, quote_via=quote)}" if given else "/"


def _shows(row: Row) -> bool:
    """Whether a row's image can be shown: compressed, or kept for another reason than its kind."""
    return row["status"] in COMPRESSED or (row["width"] > 0 and row["kept"] in AFTER_ANALYSIS)


def _shows_copy(copy: Copy) -> bool:
    return _shows({"status": copy.status, "width": copy.width, "kept": copy.kept})


def _matches(given: str, tag: str) -> bool:
    """Whether If-None-Match contains a tag, by weak comparison (RFC 9110)."""
    return any(part.strip().removeprefix("W/") in (tag, "*") for part in given.split(","))


def _attachment(row: Row, made: Rendition) -> str:
    """Content-Disposition with the last part of the key as file name (RFC 6266)."""
    name = row["key"].rsplit("/", 1)[-1] or "image"
    stem = name.rpartition(".")[0] or name
    name = name if not made.suffix or name.lower().endswith(made.suffix) else stem + made.suffix
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
