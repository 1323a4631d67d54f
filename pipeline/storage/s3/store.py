"""Buckets of Amazon S3 and of servers with the same protocol.

Whole objects are listed, read and written with the plain S3 client: only it gives the etag of the
bytes read, the declared length, and the server's own error codes. Large files are streamed through
s3fs, which shares the client.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, cast

import fsspec.asyn

from pipeline.storage.base import (
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Occupied,
    Ranges,
    StorageError,
    Store,
    Unfinished,
    Unlistable,
    too_large,
)
from pipeline.storage.keys import check_inside
from pipeline.storage.listing.ordered_walk import Page
from pipeline.storage.listing.prefetch import list_in_order
from pipeline.storage.listing.temporary_names import temporary_name
from pipeline.storage.modified import as_metadata, of_object
from pipeline.storage.retry import ATTEMPTS, with_retries
from pipeline.storage.s3.errors import (
    S3_ERRORS,
    Truncated,
    explain,
    is_forbidden,
    is_missing,
    is_taken,
    is_transient,
    is_unsupported,
    reason,
)
from pipeline.storage.s3.flat_listing import FlatListing, Request
from pipeline.storage.s3.ranges import read_ranges
from pipeline.storage.s3.sessions import CONCURRENCY, PROCESS_SESSIONS, S3Sessions

CHECK_ATTEMPTS = 3
"""Attempts per request of the checks before a job, which should take seconds."""

PART_BYTES = 16 << 20
"""Size of a part of a multipart upload."""
PAGE_KEYS = 1000
"""Keys per page of a listing: the protocol's maximum."""

_SORTED_SERVERS = ("AmazonS3", "MinIO")


class S3Store(Store):
    """A bucket, or a prefix of one: `s3://bucket/prefix`."""

    def __init__(self, url: str, sessions: S3Sessions = PROCESS_SESSIONS) -> None:
        """Nothing is contacted yet.

        Args:
            url: `s3://bucket` or `s3://bucket/prefix`.
            sessions: connections to use; in another process, a copy of this store uses the
                connections of that process.

        Raises:
            StorageError: when the bucket's name is missing.
        """
        self.bucket, _, prefix = url.removeprefix("s3://").rstrip("/").partition("/")
        super().__init__(f"s3://{self.bucket}/{prefix}" if prefix else f"s3://{self.bucket}")
        self.prefix = prefix + "/" if prefix else ""
        self._sessions = sessions
        if not self.bucket:
            raise StorageError(f"{url!r} names no bucket: write s3://BUCKET or s3://BUCKET/PREFIX")

    def child(self, name: str) -> "S3Store":
        """See Store. It shares this store's connections."""
        return S3Store(f"{self.url}/{check_inside(name, self.url)}", self._sessions)

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. The listing is flat if the server is known to sort whole keys.

        Otherwise it goes folder by folder (see `pipeline.storage.listing.ordered_walk`).
        """
        probe = self._call("list_objects_v2", Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        server = probe["ResponseMetadata"]["HTTPHeaders"].get("server", "")
        return self.entries_flat(unlisted) if server.startswith(_SORTED_SERVERS) else self.entries_by_folder(unlisted)

    def entries_flat(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """The listing in the server's own order: a thousand keys per request, ranges in parallel.

        Raises:
            StorageError: at the first key out of order.
        """
        return list_in_order(FlatListing(self._page, self.url), self.url, unlisted)

    def entries_by_folder(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """The listing folder by folder: in key order even if the server sorts by path parts."""
        return list_in_order(self._folder, self.url, unlisted)

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store."""
        found = fsspec.asyn.sync(self._sessions.current().loop, self._fetch_all, list(keys), max_bytes)
        return cast(list[Fetched | FetchFailed], found)

    def read_ranges(self, key: str, ranges: Sequence[tuple[int, int]], etag: str | None = None) -> Ranges | FetchFailed:
        """See Store."""
        wanted = (self._sessions, self.bucket, self.prefix + key, list(ranges), etag)
        found = fsspec.asyn.sync(self._sessions.current().loop, read_ranges, *wanted)
        return replace(found, key=key) if isinstance(found, FetchFailed) else cast(Ranges, found)

    def put(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a single put is atomic."""
        more = as_metadata(modified_ns)
        self._call("put_object", Bucket=self.bucket, Key=self.prefix + key, Body=data, Metadata=more)

    def put_new(self, key: str, data: bytes, modified_ns: int | None = None) -> None:
        """See Store: a conditional put.

        The object is looked for first, since some servers ignore the condition.
        """
        if not self.exists(key):
            try:
                more: dict[str, Any] = {"IfNoneMatch": "*", "Metadata": as_metadata(modified_ns)}
                self._call("put_object", Bucket=self.bucket, Key=self.prefix + key, Body=data, **more)
                return
            except StorageError as e:
                if is_unsupported(e.__cause__):
                    self.put(key, data, modified_ns)
                    return
                # Also the answer to a repeated request, when that to the first one was lost.
                if not is_taken(e.__cause__):
                    raise
        self.require_equal(key, data)

    def place(self) -> tuple[str, ...]:
        """See Store.

        `a//b` counts as `a/b`: to S3 they are two prefixes, but the archive's tables and some
        servers make one of them.
        """
        return ("s3", self.bucket, *(part for part in self.prefix.split("/") if part))

    def open_input(self, key: str) -> BinaryIO:
        """See Store."""
        try:
            return cast(
                BinaryIO, self._sessions.current().open(f"{self.bucket}/{self.prefix}{key}", "rb", cache_type="none")
            )
        except S3_ERRORS as e:
            raise self._file_error(e, key) from e

    @contextlib.contextmanager
    def open_output(self, key: str, *, new: bool = False) -> Iterator[BinaryIO]:
        """See Store: a multipart upload, completed at the end or aborted."""
        if new and self.exists(key):  # some servers ignore the condition of an exclusive write
            raise Occupied(f"{self.url}/{key} exists")
        mode = "xb" if new else "wb"
        file = self._sessions.current().open(f"{self.bucket}/{self.prefix}{key}", mode, block_size=PART_BYTES)
        try:
            yield file
            file.close()
        except BaseException as e:
            with contextlib.suppress(*S3_ERRORS):  # report the first error
                file.discard()
            file.closed = True
            if new and (isinstance(e, FileExistsError) or is_taken(e) or is_taken(e.__cause__)):
                raise Occupied(f"{self.url}/{key} exists") from e
            if isinstance(e, S3_ERRORS):
                raise self._file_error(e, key) from e
            raise

    def delete(self, key: str) -> None:
        """See Store."""
        self._call("delete_object", Bucket=self.bucket, Key=self.prefix + key)

    def delete_unchanged(self, key: str, etag: str) -> bool:
        """See Store. The etag is also read before, as some servers ignore the condition."""
        if (found := self._etag_of(key)) != etag:
            return found is None
        where: dict[str, Any] = {"Bucket": self.bucket, "Key": self.prefix + key}
        try:
            self._call("delete_object", **where, IfMatch=f'"{etag}"')
        except StorageError as e:
            cause = e.__cause__
            if is_unsupported(cause):
                self._call("delete_object", **where)
                return True
            if cause is None or not (is_taken(cause) or is_missing(cause)):
                raise
            # It was changed or removed just now, perhaps by the first attempt at this request.
            return self._etag_of(key) is None
        return True

    def refuses_stale_deletes(self) -> bool:
        """See Store: tried on a probe below the root."""
        probe: dict[str, Any] = {"Bucket": self.bucket, "Key": self.prefix + temporary_name()}
        self._call("put_object", **probe, Body=b"")
        try:
            self._call("delete_object", **probe, IfMatch='"00000000000000000000000000000000"')
        except StorageError as e:
            if not (is_taken(e.__cause__) or is_unsupported(e.__cause__)):
                raise
            self._call("delete_object", **probe)
            return is_taken(e.__cause__)
        return False

    def keeps_versions(self) -> bool:
        """See Store. Who may not ask is told no."""
        return self._versioning() == "Enabled"

    def may_hold_versions(self) -> bool | None:
        """See Store. Suspended versioning keeps the versions of before, also of what is deleted later."""
        status = self._versioning()
        return None if status is None else status in ("Enabled", "Suspended")

    def _versioning(self) -> str | None:
        """The bucket's status, empty for one that never had versions; None without an answer."""
        try:
            answer: dict[str, Any] = self._call("get_bucket_versioning", Bucket=self.bucket)
        except StorageError:
            return None
        return str(answer.get("Status") or "")

    def exists(self, key: str) -> bool:
        """See Store."""
        return self._etag_of(key) is not None

    def unfinished(self) -> Iterator[Unfinished]:
        """See Store: multipart uploads, which cost storage until they are completed or aborted."""
        more: dict[str, Any] = {}
        start = len(self.prefix)
        while True:
            try:
                answer = self._call("list_multipart_uploads", Bucket=self.bucket, Prefix=self.prefix, **more)
            except StorageError as e:
                if is_unsupported(e.__cause__):
                    return
                raise StorageError(
                    f"the unfinished uploads below {self.url} cannot be listed ({reason(e.__cause__ or e)}): allow "
                    "s3:ListBucketMultipartUploads, or let a lifecycle rule of the bucket abort them"
                ) from e
            uploads = answer.get("Uploads", ())
            for found in uploads:
                yield Unfinished(found["Key"][start:], found["Initiated"].timestamp(), found["UploadId"])
            if not (uploads and answer.get("IsTruncated")):
                return
            more = {"KeyMarker": uploads[-1]["Key"], "UploadIdMarker": uploads[-1]["UploadId"]}

    def discard(self, unfinished: Unfinished) -> None:
        """See Store."""
        key = self.prefix + unfinished.key
        try:
            self._call("abort_multipart_upload", Bucket=self.bucket, Key=key, UploadId=unfinished.name)
        except StorageError as e:
            if e.__cause__ is None or not is_missing(e.__cause__):
                raise

    def check_readable(self) -> None:
        """See Store."""
        self._call("list_objects_v2", attempts=CHECK_ATTEMPTS, Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    def check_writable(self) -> None:
        """See Store."""
        probe = self.prefix + temporary_name()
        self._call("list_objects_v2", attempts=CHECK_ATTEMPTS, Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)
        self._call("put_object", attempts=CHECK_ATTEMPTS, Bucket=self.bucket, Key=probe, Body=b"")
        self._call("delete_object", Bucket=self.bucket, Key=probe)

    def _file_error(self, error: BaseException, key: str) -> StorageError:
        if isinstance(error, FileNotFoundError):
            return StorageError(f"{self.url}/{key} does not exist")
        if isinstance(error, PermissionError):
            return StorageError(f"access to {self.url}/{key} is forbidden: these credentials may not do that there")
        return explain(error.__cause__ or error, f"{self.url}/{key}")

    def _folder(self, prefix: str) -> Iterator[Page]:
        """The pages of one folder's own level."""
        more: str | None = None
        while True:
            try:
                page, more = self._page(Request(prefix, "/", token=more))
            except StorageError as e:
                if e.__cause__ is not None and is_forbidden(e.__cause__):
                    raise Unlistable(f"{self.url}/{prefix} cannot be listed: {reason(e.__cause__)}") from e
                raise
            yield page
            if not more:
                return

    def _page(self, wanted: Request) -> tuple[Page, str | None]:
        """A page, and the continuation token of the next one."""
        start = len(self.prefix)
        where: dict[str, Any] = {"StartAfter": self.prefix + wanted.after} if wanted.after else {}
        if wanted.token:
            where = {"ContinuationToken": wanted.token}
        answer = self._call(
            "list_objects_v2",
            Bucket=self.bucket,
            Prefix=self.prefix + wanted.prefix,
            Delimiter=wanted.delimiter,
            MaxKeys=PAGE_KEYS,
            **where,
        )
        files = [
            Entry(found["Key"][start:], found["Size"], found["ETag"].strip('"'))
            for found in answer.get("Contents", ())
            if found["Size"] or not found["Key"].endswith("/")  # web consoles create markers for empty folders
        ]
        page = Page(files, [found["Prefix"][start:] for found in answer.get("CommonPrefixes", ())])
        return page, answer["NextContinuationToken"] if answer.get("IsTruncated") else None

    def _call(self, operation: str, attempts: int = ATTEMPTS, **arguments: Any) -> Any:
        async def call() -> Any:
            client = await self._sessions.current().set_session()
            return await with_retries(lambda: getattr(client, operation)(**arguments), is_transient, attempts)

        try:
            return fsspec.asyn.sync(self._sessions.current().loop, call)
        except S3_ERRORS as e:
            raise explain(e, self.url) from e

    def _etag_of(self, key: str) -> str | None:
        """The etag of an object, None if there is none."""
        return cast(str | None, fsspec.asyn.sync(self._sessions.current().loop, self._head, key))

    async def _head(self, key: str) -> str | None:
        client = await self._sessions.current().set_session()
        try:
            answer = await with_retries(
                lambda: client.head_object(Bucket=self.bucket, Key=self.prefix + key), is_transient
            )
        except S3_ERRORS as e:
            if is_missing(e):
                return None
            raise explain(e, f"{self.url}/{key}") from e
        return str(answer["ETag"]).strip('"')

    async def _fetch_all(self, keys: list[str], max_bytes: int | None) -> list[Fetched | FetchFailed]:
        client = await self._sessions.current().set_session()
        gate = asyncio.Semaphore(CONCURRENCY)

        async def read(key: str) -> Fetched | FetchFailed:
            answer = await client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            async with answer["Body"] as body:
                if refused := too_large(answer["ContentLength"], max_bytes):
                    body.close()  # otherwise the rest is read before the connection can be used again
                    return FetchFailed(key, refused)
                data = await body.read()
            if len(data) != answer["ContentLength"]:
                raise Truncated(f"{len(data)} of {answer['ContentLength']} bytes")
            modified = of_object(answer.get("Metadata") or {}, answer.get("LastModified"))
            return Fetched(key, data, answer["ETag"].strip('"'), modified)

        async def one(key: str) -> Fetched | FetchFailed:
            async with gate:
                try:
                    return await with_retries(lambda: read(key), is_transient)
                except S3_ERRORS as e:
                    transient = is_transient(e)
                    return FetchFailed(key, reason(e), transient, refused=not (transient or is_missing(e)))

        return list(await asyncio.gather(*map(one, keys)))
