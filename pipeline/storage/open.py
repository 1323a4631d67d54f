"""Opening stores: from a URL to a store. Sources are opened by `pipeline.sources.open`.

    store = open_store("s3://photos/2024")           # nothing is contacted yet
    target = open_target("/backup/photos")           # created when missing, writable

Credentials and the endpoint come from the environment and the files that each service's own tools
use (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, ~/.aws;
GOOGLE_APPLICATION_CREDENTIALS). They never appear in a URL, row, log or error.
"""

import os
import re
from collections import defaultdict
from urllib.parse import urlsplit

from model.core.extras import remedy
from pipeline.storage.base import Entry, Fetched, FetchFailed, Occupied, StorageError, Store
from pipeline.storage.local.store import LocalStore
from pipeline.storage.s3.request_options import S3Options

__all__ = [
    "Entry",
    "FetchFailed",
    "Fetched",
    "Occupied",
    "StorageError",
    "Store",
    "open_store",
    "open_target",
    "storage_options",
]


AZURE = ("abfs", "abfss", "az")
NAMED = (*AZURE, "sftp", "ssh")
"""Schemes whose URLs name a container or a user before the host: abfs://CONTAINER@ACCOUNT..., sftp://USER@HOST."""
_CREDENTIALS = defaultdict(
    lambda: "AWS_ACCESS_KEY_ID ...",
    dict.fromkeys(("gs", "gcs"), "GOOGLE_APPLICATION_CREDENTIALS")
    | dict.fromkeys(AZURE, "AZURE_STORAGE_CONNECTION_STRING ...")
    | dict.fromkeys(("sftp", "ssh"), "keys in ~/.ssh, or an agent"),
)
"""What is used instead of credentials in a URL."""


def open_store(url: str | os.PathLike[str], *, links: bool = True) -> Store:
    """The store at a URL (`s3://bucket/prefix`, `gs://...`, `file:///path`, a plain path).

    Nothing is contacted yet.

    Args:
        url: of the store.
        links: follow symbolic links below a local folder.

    Raises:
        StorageError: for an unknown scheme, a web address or a URL without a bucket.
    """
    text = os.fspath(url)
    if "\0" in text:
        raise StorageError("a path or URL with a zero byte names nothing")
    if not text.strip():  # not the root of the file system, as the path of no parts
        raise StorageError("an empty path or URL names nothing: perhaps a variable in the command is not set")
    if "://" not in text:
        return LocalStore(text, links=links)
    parts = urlsplit(text, allow_fragments=False)
    # A secret key may contain a "/", where the parser ends the host: look for a port that is not a
    # number, too.
    user, at, _ = parts.netloc.rpartition("@")
    named = parts.scheme in NAMED and user and ":" not in user and "@" not in user
    if (at and not named) or re.search(r":(?!\d*$)", parts.netloc):
        raise StorageError(
            f"a {parts.scheme}:// URL must not carry credentials: use the environment ({_CREDENTIALS[parts.scheme]})"
        )
    if parts.scheme in ("http", "https"):
        raise StorageError(
            f"{text}: maepress reads folders and buckets, not web pages: put the addresses of images into a list, "
            "LIST.csv#urls"
        )
    rest = text.split("://", 1)[1]  # urlsplit has the scheme in lower case
    if not parts.scheme or (parts.scheme == "file" and not rest.removeprefix("localhost")):
        raise StorageError(f"{text} names no folder and no bucket: write a path, file:///PATH, s3://... or gs://...")
    if parts.scheme == "file":
        return LocalStore(rest.removeprefix("localhost") if parts.netloc == "localhost" else rest, links=links)
    if parts.scheme in ("s3", "s3a"):
        from pipeline.storage.s3.store import S3Store  # clients of services take half a second to import

        return S3Store("s3://" + rest)
    if parts.scheme in AZURE:
        return _azure_store(f"{parts.scheme}://{rest}")
    from pipeline.storage.fsspec_store import FsspecStore

    return FsspecStore(f"{parts.scheme}://{rest}".rstrip("/"))


def _azure_store(url: str) -> Store:
    try:
        from pipeline.storage.azure.azure_store import AzureStore
    except ModuleNotFoundError as e:
        if e.name != "obstore":
            raise
        raise StorageError(
            f"{url}: {url.split(':')[0]}:// needs a package that is not installed: {remedy('azure')}"
        ) from None
    return AzureStore(url)


def open_target(url: str | os.PathLike[str]) -> Store:
    """A store to write to, created when missing, and checked to be writable.

    Raises:
        StorageError: when it cannot be written.
    """
    store = open_store(url)
    store.check_writable()
    return store


def storage_options(url: str) -> dict[str, str]:
    """Options for `deltalake`'s object store, beside the environment variables that it reads itself.

    Plain http is allowed only when the endpoint's URL is http. Races between writers are decided by
    conditional puts.

    Args:
        url: of the table; other schemes than s3:// need no options.
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
    return options | S3Options.of().for_deltalake()
