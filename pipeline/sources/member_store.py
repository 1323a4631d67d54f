"""Tars and zips as folders of their members, read by ranges: `s3://shards#members`.

A member's key is that of its archive file, a slash and its name. Nothing is unpacked to disk. Other
objects are passed on, and so is an archive file inside another one, as a file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from pipeline.sources import tar_index, zip_index
from pipeline.sources.container_file import ContainerFile, Unreadable
from pipeline.sources.member_index import Builder, Member, MemberIndex, index_of
from pipeline.sources.merge import merged
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.storage.base import (
    CHANGED,
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Outage,
    Store,
    too_large,
)
from pipeline.storage.key_globs import KeyGlobs

GLOBS = ("*.tar", "*.zip")
"""The archive files that are opened where the address names none."""
_NO_ARCHIVE = "it is neither a tar nor a zip, or begins with damage"
_PACKED = "it is compressed as a whole, so that its members have no places: unpack it to a .tar"
_TRIES = 3


class MemberStore(ReadOnlyStore):
    """Another store, in which archive files are folders of their members.

    The etag of a tar's member is the tar's: a tar that is written anew has new members. A zip's
    members have etags of their own, made of size and CRC-32, so that only those are new that changed.
    """

    what, member, whole = "a view of archive files", "a member", "its archive file"

    def __init__(self, inner: Store, globs: tuple[str, ...] = GLOBS) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the archive files.
            globs: which of its objects are opened.
        """
        self._view = "#members" if globs == GLOBS else f"#members={','.join(globs)}"
        super().__init__(inner.url + self._view)
        self.inner, self._globs = inner, KeyGlobs(globs)
        self._versions: dict[str, str] = {}

    def __reduce__(self) -> tuple[type["MemberStore"], tuple[Store, tuple[str, ...]]]:
        return MemberStore, (self.inner, self._globs.include)

    @property
    def absolute_url(self) -> str:
        """See Store."""
        return self.inner.absolute_url + self._view

    def place(self) -> tuple[str, ...]:
        """See Store: that of the archive files."""
        return self.inner.place()

    def root_exists(self) -> bool:
        """See Store."""
        return self.inner.root_exists()

    def problem_with_key(self, key: str) -> str | None:
        """See Store."""
        return self.inner.problem_with_key(key)

    def check_readable(self) -> None:
        """See Store."""
        self.inner.check_readable()

    def child(self, name: str) -> "MemberStore":
        """See Store."""
        return MemberStore(self.inner.child(name), self._globs.include)

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store.

        An archive file that is damaged is a folder that cannot be listed to its end: rows of its
        members stay. One that is none at all is also listed as a file, so that its bytes are kept.
        """
        return merged(
            self.inner.entries(unlisted),
            self._globs.chooses,
            self._index,
            lambda entry, found: self._members(entry, found, unlisted),
            lambda entry: unlisted(entry.key, "a member of an archive file has its key") if unlisted else None,
        )

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store."""
        return self._fetch_below(keys, max_bytes, 0)

    def _fetch_below(self, keys: Sequence[str], max_bytes: int | None, start: int) -> list[Fetched | FetchFailed]:
        """Fetch keys whose archive file has a name that is longer than `start`."""
        results: list[Fetched | FetchFailed] = []
        for container, group in groupby(keys, lambda key: self._container(key, start)):
            some = list(group)
            results += self._fetch(container, some, max_bytes) if container else self.inner.fetch(some, max_bytes)
        return results

    def _container(self, key: str, start: int) -> str:
        """The archive file that a key lies in, as far as names tell; empty for none."""
        at = key.find("/", start + 1)
        while at >= 0:
            if self._globs.chooses(key[:at]):
                return key[:at]
            at = key.find("/", at + 1)
        return ""

    def _index(self, entry: Entry) -> MemberIndex | FetchFailed:
        """The index of the version that was listed, or of the one that is there now."""
        try:
            return self._index_of(entry.key, entry.etag)
        except Unreadable as e:
            if e.failed.reason != CHANGED:
                return e.failed
        try:
            return self._index_of(entry.key, ContainerFile(self.inner, entry.key).etag)
        except Unreadable as e:
            return e.failed

    def _index_of(self, key: str, etag: str) -> MemberIndex:
        def build(add: Builder) -> str | None:
            file = ContainerFile(self.inner, key, etag)
            head = file.read(0, tar_index.BLOCK)
            if zip_index.is_zip(head):
                add.kind = "zip"
                return zip_index.build(file, add)
            if tar_index.is_tar(head):
                add.kind = "tar"
                return tar_index.build(file, add)
            return _PACKED if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")) else _NO_ARCHIVE

        found = index_of((self.inner.absolute_url, key, etag), build)
        self._versions[key] = etag
        return found

    def _members(self, entry: Entry, found: MemberIndex | FetchFailed, unlisted: NotListed | None) -> Iterator[Entry]:
        prefix = entry.key + "/"
        if isinstance(found, FetchFailed):
            if unlisted is None or found.transient:
                raise Outage(f"{self.inner.url}/{entry.key} cannot be read: {found.reason}")
            unlisted(prefix, f"its members cannot be listed: {found.reason}")
            yield entry
            return
        if found.damage and unlisted is not None:
            unlisted(prefix, found.damage)
        if not found.kind:
            yield entry
        for member in found.members():
            yield Entry(prefix + member.key, member.size, member.etag or found.version)

    def _fetch(self, container: str, keys: list[str], max_bytes: int | None) -> list[Fetched | FetchFailed]:
        """Members of one archive file; where it changes meanwhile, those of the new one."""
        failed = FetchFailed(container, CHANGED, transient=True)
        for _ in range(_TRIES):
            try:
                etag = self._versions.get(container) or ContainerFile(self.inner, container).etag
                found = self._index_of(container, etag)
                return self._read(container, found, etag, keys, max_bytes)
            except Unreadable as e:
                failed = e.failed
                self._versions.pop(container, None)
                if failed.reason == CHANGED:
                    continue
                if failed.is_verdict:  # there is no such file: it may be a folder with the name of one
                    return self._fetch_below(keys, max_bytes, len(container))
                break
        return [replace(failed, key=key) for key in keys]

    def _read(
        self, container: str, index: MemberIndex, etag: str, keys: list[str], max_bytes: int | None
    ) -> list[Fetched | FetchFailed]:
        results: dict[str, Fetched | FetchFailed] = {}
        wanted: dict[str, Member] = {}
        for key, member in zip(keys, index.find([key[len(container) + 1 :] for key in keys]), strict=True):
            if member is None:
                (results[key],) = self._fetch_below([key], max_bytes, len(container))
            elif member.problem is not None:
                results[key] = FetchFailed(key, member.problem)
            elif large := too_large(member.size, max_bytes):
                results[key] = FetchFailed(key, large)
            else:
                wanted[key] = member
        if wanted:
            reader = zip_index.read if index.kind == "zip" else tar_index.read
            found = reader(self.inner, container, etag, list(wanted.values()))
            if isinstance(found, FetchFailed):
                raise Unreadable(found)
            for (key, member), data in zip(wanted.items(), found, strict=True):
                if isinstance(data, FetchFailed):
                    results[key] = replace(data, key=key)
                else:
                    results[key] = Fetched(key, data, member.etag or etag, member.modified_ns)
        return [results[key] for key in keys]
