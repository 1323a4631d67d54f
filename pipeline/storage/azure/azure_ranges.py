"""Ranges of bytes of one version of a blob, several at once."""

from collections.abc import Sequence
from typing import Any

import obstore
from obstore.exceptions import PreconditionError

from pipeline.storage.at_once import at_once
from pipeline.storage.azure.azure_errors import ERRORS, is_missing, is_transient
from pipeline.storage.base import CHANGED, FetchFailed, Ranges
from pipeline.storage.joined_ranges import joined
from pipeline.storage.modified import of_object


def plain(about: Any) -> str:
    """The etag of a blob, from what obstore knows of it: listings have it without quotes, answers with them."""
    return str(about["e_tag"]).strip('"')


def read_ranges(
    store: Any, path: str, key: str, ranges: Sequence[tuple[int, int]], etag: str | None
) -> Ranges | FetchFailed:
    """See `Store.read_ranges`. Neighbouring ranges are one request.

    The version is pinned by `If-Match`, and compared in each answer.

    Args:
        store: obstore's.
        path: of the blob in its container.
        key: of the object, for a failure.
        ranges: first byte and number of bytes of each.
        etag: of the version to read, None for the one that is there.

    Raises:
        BaseError, OSError: of the requests.
    """
    about: Any = None
    if etag is None:  # otherwise the first answer has the facts, too
        about = obstore.get(store, path, options={"head": True})
    pinned = etag or plain(about.meta)

    def read(block: tuple[int, int]) -> tuple[bytes, Any]:
        first, count = block
        options: Any = {"range": (first, first + count), "if_match": f'"{pinned}"'}
        try:
            got = obstore.get(store, path, options=options)
        except PreconditionError:
            raise
        except ERRORS as e:
            if is_transient(e) or is_missing(e) or first < obstore.head(store, path)["size"]:
                raise
            return b"", None  # it begins behind the end
        if plain(got.meta) != pinned:  # a server that ignores the condition
            raise PreconditionError
        return bytes(got.bytes()), got

    together = joined(ranges)
    try:
        answers = at_once(read, together.blocks)
    except PreconditionError:
        return FetchFailed(key, CHANGED, transient=True)
    about = about or next((got for _, got in answers if got), None)
    about = about or obstore.get(store, path, options={"head": True})
    if plain(about.meta) != pinned:
        return FetchFailed(key, CHANGED, transient=True)
    parts = together.parts([data for data, _ in answers])
    return Ranges(parts, about.meta["size"], pinned, of_object(about.attributes, about.meta["last_modified"]))
