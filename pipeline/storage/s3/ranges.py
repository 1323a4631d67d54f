"""Ranges of bytes of one version of an S3 object, several at once."""

import asyncio
from typing import Any

from botocore.exceptions import ClientError

from pipeline.storage.base import CHANGED, FetchFailed, Ranges
from pipeline.storage.joined_ranges import joined
from pipeline.storage.modified import of_object
from pipeline.storage.retry import with_retries
from pipeline.storage.s3.errors import S3_ERRORS, Truncated, is_missing, is_taken, is_transient, reason
from pipeline.storage.s3.sessions import CONCURRENCY, S3Sessions


class _OtherVersion(Exception):
    """An answer is not of the version that was asked for."""


async def read_ranges(
    sessions: S3Sessions, bucket: str, key: str, ranges: list[tuple[int, int]], etag: str | None
) -> Ranges | FetchFailed:
    """See `Store.read_ranges`. Neighbouring ranges are one request.

    The version is pinned by `If-Match`, and compared in each answer.

    Args:
        sessions: connections to use.
        bucket: its name.
        key: whole key of the object.
        ranges: first byte and number of bytes of each.
        etag: of the version to read, None for the one that is there.
    """
    client = await sessions.current().set_session()
    where: dict[str, Any] = {"Bucket": bucket, "Key": key}
    gate = asyncio.Semaphore(CONCURRENCY)
    try:
        facts: dict[str, Any] = {}
        if etag is None or not ranges:  # otherwise the first answer has the facts, too
            facts = await with_retries(lambda: client.head_object(**where), is_transient)
            facts["Size"] = int(facts["ContentLength"])
            if etag not in (None, _plain(facts)):
                raise _OtherVersion
        pinned = etag or _plain(facts)

        async def read(start: int, count: int) -> bytes:
            try:
                answer = await client.get_object(
                    **where, Range=f"bytes={start}-{start + count - 1}", IfMatch=f'"{pinned}"'
                )
            except ClientError as e:
                if e.response.get("Error", {}).get("Code") == "InvalidRange":  # it begins behind the end
                    return b""
                raise
            async with answer["Body"] as body:
                if _plain(answer) != pinned or not answer.get("ContentRange"):
                    body.close()  # a server that ignores the condition, or the range
                    raise _OtherVersion
                facts.update(answer, Size=int(answer["ContentRange"].rpartition("/")[2]))
                data: bytes = await body.read()
            if len(data) != answer["ContentLength"]:
                raise Truncated(f"{len(data)} of {answer['ContentLength']} bytes")
            return data

        async def one(start: int, count: int) -> bytes:
            async with gate:
                return await with_retries(lambda: read(start, count), is_transient)

        together = joined(ranges)
        parts = together.parts(await asyncio.gather(*(one(*block) for block in together.blocks)))
    except _OtherVersion:
        return FetchFailed(key, CHANGED, transient=True)
    except S3_ERRORS as e:
        if is_taken(e):
            return FetchFailed(key, CHANGED, transient=True)
        transient = is_transient(e)
        return FetchFailed(key, reason(e), transient, refused=not (transient or is_missing(e)))
    modified = of_object(facts.get("Metadata") or {}, facts.get("LastModified"))
    return Ranges(parts, int(facts.get("Size", 0)), pinned, modified)


def _plain(answer: dict[str, Any]) -> str:
    return str(answer["ETag"]).strip('"')
