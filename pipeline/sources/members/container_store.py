"""The base of views in which some objects, the containers, are folders of what they hold."""

import sqlite3
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from model.core.boundary import Fault, attempt
from pipeline.sources.members.container_file import ContainerFile, Unreadable
from pipeline.sources.members.member_index import Builder, Member, MemberIndex, index_of
from pipeline.sources.merge import merged
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.storage.base import (
    CHANGED,
    Entry,
    Fetched,
    FetchFailed,
    NotListed,
    Outage,
    StorageError,
    Store,
    too_large,
)
from pipeline.storage.listing.key_globs import KeyGlobs

_TRIES = 3


class ContainerStore(ReadOnlyStore):
    """Another store, in which some objects are folders; a subclass reads one kind of them."""

    def __init__(self, inner: Store, view: str, globs: tuple[str, ...]) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the containers.
            view: the part of the address from `#` on.
            globs: which objects are containers.
        """
        super().__init__(inner, view)
        self._globs = KeyGlobs(globs)
        self._versions: dict[str, str] = {}

    @abstractmethod
    def _build(self, file: ContainerFile, add: Builder) -> str | None:
        """Add the members of a container, and name its kind; returns why it cannot be read to its end, or None."""

    @abstractmethod
    def _payloads(
        self, container: str, index: MemberIndex, members: list[Member], max_bytes: int | None
    ) -> list[bytes | FetchFailed] | FetchFailed:
        """The bytes of members of one version of a container."""

    def _metas(self, container: str, index: MemberIndex, members: list[Member]) -> list[str | None]:
        """The metas of members that were read (`pipeline.sources.sidecars.meta`); of most kinds they have none."""
        del container, index
        return [None] * len(members)

    def problem_with_key(self, key: str) -> str | None:
        """See Store."""
        return self.inner.problem_with_key(key)

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

    def container_of(self, key: str) -> str:
        """The archive file that a key lies in, as far as names tell; empty for none."""
        return self._container(key, 0)

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
        name = (self.inner.absolute_url, self._reading(), key, etag)
        found = index_of(name, lambda add: self._built(ContainerFile(self.inner, key, etag), add))
        self._versions[key] = etag
        return found

    def _built(self, file: ContainerFile, add: Builder) -> str | None:
        """What `_build` returns; whatever foreign bytes make it raise is damage of this container."""
        done = attempt(lambda: self._build(file, add), passes=(Unreadable, StorageError, sqlite3.Error))
        if not isinstance(done, Fault):
            return done
        if done.machine:
            raise Outage(f"{self.url} cannot be indexed: {done.reason}")
        return f"it is damaged: {done.reason}"

    def _reading(self) -> str:
        """What of the address changes the index of a container."""
        return ""

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
                return self._read(container, found, keys, max_bytes)
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
        self, container: str, index: MemberIndex, keys: list[str], max_bytes: int | None
    ) -> list[Fetched | FetchFailed]:
        results: dict[str, Fetched | FetchFailed] = {}
        wanted: dict[str, Member] = {}
        for key, member in zip(keys, index.find([key[len(container) + 1 :] for key in keys]), strict=True):
            if member is None:
                (results[key],) = self._fetch_below([key], max_bytes, len(container))
            elif member.problem is not None:
                results[key] = FetchFailed(key, member.problem)
            elif self.sizes_are_known and (large := too_large(member.size, max_bytes)):
                results[key] = FetchFailed(key, large)
            else:
                wanted[key] = member
        if wanted:
            found = self._payloads(container, index, list(wanted.values()), max_bytes)
            if isinstance(found, FetchFailed):
                raise Unreadable(found)
            texts = self._metas(container, index, list(wanted.values()))
            for (key, member), data, meta in zip(wanted.items(), found, texts, strict=True):
                if isinstance(data, FetchFailed):
                    results[key] = replace(data, key=key)
                else:
                    results[key] = Fetched(key, data, member.etag or index.version, member.modified_ns, meta)
        return [results[key] for key in keys]
