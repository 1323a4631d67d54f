"""Opening sources: from an address to a checked store.

source = open_source("s3://photos/2024")         # exists, readable, not empty; otherwise a one-line error
for entry in source.entries(): ...               # byte order of keys, streamed
for result in source.fetch(keys): ...            # Fetched(key, data, etag) or FetchFailed(key, reason)
shards = open_source("s3://shards#members")      # see `pipeline.storage.address`
"""

import os
from dataclasses import replace

from pipeline.storage.address import SIDECARS, Address, globs_of, parse
from pipeline.storage.base import StorageError, Store
from pipeline.storage.open import open_store


class EmptySource(StorageError):
    """A source without any object."""


def source_at(url: str | os.PathLike[str]) -> Store:
    """The source at an address. Nothing is contacted yet.

    Raises:
        StorageError: for an address that is none.
        MaepressError: when a package is missing that the kind of source needs.
    """
    address = parse(url)
    inner = open_store(address.place)
    return _VIEWS[address.kind](inner, address) if address.kind else inner


def _sidecars(inner: Store, view: str) -> Store:
    from pipeline.sources.sidecars.sidecar_store import SidecarStore

    return SidecarStore(inner, view)


def open_source(url: str | os.PathLike[str], *, may_be_empty: bool = False) -> Store:
    """A store to read from, checked: it exists, can be read and holds at least one object.

    Args:
        url: address of the source.
        may_be_empty: do not look for an object.

    Raises:
        EmptySource: when it holds no object.
        StorageError: within seconds, in one line that names the failed check.
    """
    store = source_at(url)
    store.check_readable()
    if not may_be_empty and store.is_empty():
        raise EmptySource(f"{store.url} is empty: there is nothing to read")
    return store


def _frames(inner: Store, address: Address) -> Store:
    from pipeline.sources.video_store import open_videos

    return open_videos(inner, address.value)


def _members(inner: Store, address: Address) -> Store:
    from pipeline.sources.members.member_store import GLOBS, MemberStore

    members = MemberStore(inner, globs_of(address, GLOBS))
    return _sidecars(members, "&sidecars") if SIDECARS in address.options else members


def _table(inner: Store, address: Address) -> Store:
    from pipeline.sources.tables.parquet_rows import Columns
    from pipeline.sources.tables.row_store import RowStore
    from pipeline.sources.tables.table_store import TableStore

    columns = Columns(address.options.get("image", ""), address.options.get("key", ""), SIDECARS in address.options)
    inner, view, globs = _files(inner, address, ("*.parquet",), (".parquet",))
    return TableStore(inner, view, globs, columns) if columns.key else RowStore(inner, view, globs, columns)


def _urls(inner: Store, address: Address) -> Store:
    from pipeline.sources.web.url_list import ENDINGS, GLOBS
    from pipeline.sources.web.url_store import UrlStore, options_of

    options, check = options_of(address.options, str(address))
    inner, view, globs = _files(inner, address, GLOBS, ENDINGS)
    return UrlStore(inner, view, globs, address.options.get("url", ""), options, check=check)


def _inventory(inner: Store, address: Address) -> Store:
    from pipeline.sources.inventory.store import inventory_of

    listed = inventory_of(inner, str(replace(address, options={}))[len(address.place) :], address.value)
    return _sidecars(listed, "&sidecars") if SIDECARS in address.options else listed


def _files(
    inner: Store, address: Address, default: tuple[str, ...], endings: tuple[str, ...]
) -> tuple[Store, str, tuple[str, ...]]:
    """The folder of an address, the view in it, and the globs of its files; a single file is the one of its folder."""
    folder, slash, name = address.place.rpartition("/")
    if name.endswith(endings):
        address = replace(address, place=folder if slash else ".", value=name)
        inner = open_store(address.place or "/")
    return inner, str(address)[len(address.place) :], globs_of(address, default)


def _plain_with_sidecars(inner: Store, address: Address) -> Store:
    if address.value:
        raise StorageError(f"{address}: #sidecars takes no value")
    return _sidecars(inner, "#sidecars")


_VIEWS = {
    "frames": _frames,
    "members": _members,
    "table": _table,
    "urls": _urls,
    "inventory": _inventory,
    SIDECARS: _plain_with_sidecars,
}
