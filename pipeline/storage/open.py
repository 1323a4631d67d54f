"""Opening a place where images are or go: from a URL to a checked store.

    store = open_source("s3://photos/2024")          # exists, readable, not empty; or one clear line
    for entry in store.entries(): ...                # byte order of keys, streamed
    for result in store.fetch(keys): ...             # Fetched(key, data, etag) or FetchFailed(key, reason)
    clips = open_source("s3://clips#frames=30")      # every 30th frame of each video
    target = open_target("/backup/photos")           # made when missing, writable

Credentials and the endpoint come from where each service's own tools take them (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, ~/.aws; GOOGLE_APPLICATION_CREDENTIALS); they are in no URL, row, log or error.
"""

import os
import re
from urllib.parse import urlsplit

from pipeline.images import video
from pipeline.storage.base import Entry, Fetched, FetchFailed, StorageError, Store
from pipeline.storage.fsspec_store import FsspecStore
from pipeline.storage.local_store import LocalStore
from pipeline.storage.s3_store import S3Store
from pipeline.storage.video_store import MARK, VideoStore

__all__ = [
    "Entry",
    "FetchFailed",
    "Fetched",
    "StorageError",
    "Store",
    "open_source",
    "open_store",
    "open_target",
    "storage_options",
]


def open_store(url: str | os.PathLike[str]) -> Store:
    """The store at a URL (`s3://bucket/prefix`, `gs://...`, `file:///path`, a plain path); nothing is contacted yet.

    Raises:
        StorageError: for an unknown scheme or a URL without a bucket.
    """
    text = os.fspath(url)
    if "://" not in text:
        return LocalStore(text)
    parts = urlsplit(text, allow_fragments=False)
    # A secret key may hold a "/", and then ends what a parser takes for the host.
    if "@" in parts.netloc or re.search(r":(?!\d*$)", parts.netloc):
        raise StorageError(
            f"a {parts.scheme}:// URL must not carry credentials: use the environment (AWS_ACCESS_KEY_ID ...)"
        )
    if parts.scheme == "file":
        return LocalStore(text.removeprefix("file://"))
    if parts.scheme in ("s3", "s3a"):
        return S3Store("s3://" + text.split("://", 1)[1])
    return FsspecStore(text.rstrip("/"))


def open_source(url: str | os.PathLike[str]) -> Store:
    """A store to read from, checked to exist, to be readable and to hold at least one object.

    With `#frames=30` or `#frames=scenes` behind the URL, videos are seen as folders of their frames.

    Raises:
        StorageError: one line saying which of these does not hold, within seconds.
    """
    place, mark, choice = os.fspath(url).partition(MARK)
    store = open_store(place)
    if mark:
        video.require_library()
        store = VideoStore(store, video.parse_choice(choice))
    store.check_readable()
    if next(store.entries(), None) is None:
        raise StorageError(f"{store.url} is empty: there is nothing to read")
    return store


def open_target(url: str | os.PathLike[str]) -> Store:
    """A store to write to, made when missing and checked to be writable.

    Raises:
        StorageError: when it cannot be written.
    """
    store = open_store(url)
    store.check_writable()
    return store


def storage_options(url: str) -> dict[str, str]:
    """What the Rust side (`deltalake`) needs beside the environment, which it reads by itself.

    Plain http is allowed when, and only when, the endpoint says http; races between writers are decided by
    conditional put.
    """
    if not url.startswith("s3://"):
        return {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    options = {"conditional_put": "etag"}
    if endpoint:
        options["aws_endpoint"] = endpoint
        options["allow_http"] = "true" if endpoint.startswith("http://") else "false"
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    options["aws_region"] = region or "us-east-1"
    return options
