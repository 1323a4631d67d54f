"""A source whose images have their labels and sidecars with them: `s3://photos#sidecars`.

A sidecar file beside an image is no object of its own here: it travels in the image's `meta`. What
says something of many images stays an object, too, and so does a sidecar file that is larger than a meta may be, or
belongs to no image. The etag of an image changes when anything that belongs to it does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.sources.members.container_store import ContainerStore
from pipeline.sources.read_only import ReadOnlyStore
from pipeline.sources.sidecars.meta import COCO, MAX_FILE, METADATA, Meta
from pipeline.sources.sidecars.shared_sidecars import SharedFile, SharedSidecars, described, is_shared
from pipeline.sources.sidecars.sidecar_names import candidates, file_name, is_image, marked, sidecar_of, unmarked
from pipeline.sources.sidecars.sidecar_pairs import paired
from pipeline.storage.base import Entry, Fetched, FetchFailed, NotListed, StorageError, Store

MOST_SHARED = 10_000
"""Files that say something of many images, in one source."""


class SidecarStore(ReadOnlyStore):
    """Another store, in which images have their labels and sidecars with them."""

    what, member, whole = "a view of images with their sidecars", "an image", "its source"

    def __init__(self, inner: Store, view: str, shared: tuple[SharedFile, ...] | None = None) -> None:
        """Nothing is read yet.

        Args:
            inner: the store of the images.
            view: the part of the address from `#` or `&` on.
            shared: the files that say something of many images, None if they have to be looked for.
        """
        super().__init__(inner, view)
        self.sizes_are_known = inner.sizes_are_known
        self._shared = None if shared is None else SharedSidecars(inner, shared)

    def __reduce__(self) -> tuple[type["SidecarStore"], tuple[Store, str, tuple[SharedFile, ...] | None]]:
        return SidecarStore, (self.inner, self._view, self._shared.files if self._shared else None)

    def child(self, name: str) -> "SidecarStore":
        """See Store."""
        return SidecarStore(self.inner.child(name), self._view)

    def problem_with_key(self, key: str) -> str | None:
        """See Store."""
        return self.inner.problem_with_key(key)

    def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
        """See Store. The inner store is listed twice: what belongs to an image may be listed behind it.

        Raises:
            StorageError: also when a folder of COCO's annotations cannot be listed, or one of its files not be read at
                the moment: images elsewhere would lose what they say.
        """
        shared = self._shared = self._looked_for()
        for key, reason in shared.damage():
            if unlisted is not None:
                unlisted(key, f"sidecars: {reason}")
        for entry, sidecars in paired(self.inner.entries(unlisted), _may_be_sidecar):
            if sidecars is None or is_shared(entry.key):
                yield entry
                continue
            facts = [f"{name} {found.etag}" for name, found in sidecars.items()]
            facts += self._facts(entry.key, shared)
            yield replace(entry, etag=marked(entry.etag, sidecars, facts))

    def fetch(self, keys: Sequence[str], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store. All names that sidecars may have are asked for: `fetch_listed` knows which there are."""
        return self._fetch([(key, candidates(key) if _may_have(key) else {}, "") for key in keys], max_bytes)

    def fetch_listed(self, entries: Sequence[Entry], max_bytes: int | None = None) -> list[Fetched | FetchFailed]:
        """See Store. A sidecar file that was listed and cannot be read is named in the meta."""
        wanted: list[tuple[str, dict[str, str], str]] = []
        for entry in entries:
            names, places = unmarked(entry.etag)[1], candidates(entry.key)
            wanted.append((entry.key, {name: places[name] for name in names if name in places}, entry.etag))
        return self._fetch(wanted, max_bytes)

    def is_empty(self) -> bool:
        """See Store: no sidecar is read for that."""
        return self.inner.is_empty()

    def listed_at(self) -> datetime | None:
        """See Store."""
        return self.inner.listed_at()

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """See Store: without sidecars."""
        return self.inner.get(key, max_bytes)

    def exists(self, key: str) -> bool:
        """See Store."""
        return self.inner.exists(key)

    def delete_unchanged(self, key: str, etag: str) -> bool:
        """See Store. The image is deleted if neither it nor its sidecars have changed; these stay."""
        own, _ = unmarked(etag)
        if own != etag:
            (found,) = self.fetch_listed([Entry(key, 0, etag)])
            if isinstance(found, Fetched) and found.etag != etag:
                return False
        return self.inner.delete_unchanged(key, own)

    def problem_with_deleting(self) -> str | None:  # type: ignore[override]
        """See Store."""
        return self.inner.problem_with_deleting()

    def undeletable(self) -> Callable[[str], str | None]:
        """See Store."""
        return self.inner.undeletable()

    def refuses_stale_deletes(self) -> bool:
        """See Store."""
        return self.inner.refuses_stale_deletes()

    def keeps_versions(self) -> bool:
        """See Store."""
        return self.inner.keeps_versions()

    def _looked_for(self) -> SharedSidecars:
        """The files of this source that say something of many images."""

        def not_listed(folder: str, reason: str) -> None:
            if folder.endswith("annotations/"):
                raise StorageError(f"{self.inner.url}/{folder} cannot be listed: {reason}")

        files: list[SharedFile] = []
        for entry in self.inner.entries(not_listed):
            if is_shared(entry.key):
                files.append(SharedFile(entry.key, entry.etag, entry.size))
            if len(files) > MOST_SHARED:
                raise StorageError(
                    f"{self.inner.url} has more than {MOST_SHARED:,} files of metadata or annotations: take parts of it"
                )
        return SharedSidecars(self.inner, tuple(files))

    def _facts(self, key: str, shared: SharedSidecars) -> Iterator[str]:
        """Texts that change when the label of an image does, or what is said of it elsewhere."""
        if label := self._label(key):
            yield f"label {label}"
        for file, member in shared.find(key):
            yield f"{file.part} {file.key} {member.place} {member.problem or ''}"

    def _label(self, key: str) -> str:
        """The name of an image's folder, if that is no archive file; empty for none."""
        folder = key.rpartition("/")[0]
        if isinstance(self.inner, ContainerStore) and self.inner.container_of(folder + "/") == folder:
            return ""
        return folder.rpartition("/")[2]

    def _fetch(
        self, wanted: Sequence[tuple[str, dict[str, str], str]], max_bytes: int | None
    ) -> list[Fetched | FetchFailed]:
        """Images with the sidecars of these names and keys, and the etags that they were listed with, if they were."""
        keys = sorted({key for key, names, _ in wanted for key in (key, *names.values())})
        found = dict(zip(keys, self.inner.fetch(keys, max_bytes), strict=True))
        if self._shared is None:
            self._shared = self._looked_for()
        return [self._with_meta(key, names, listed, found, self._shared) for key, names, listed in wanted]

    def _with_meta(
        self,
        key: str,
        names: dict[str, str],
        listed: str,
        found: dict[str, Fetched | FetchFailed],
        shared: SharedSidecars,
    ) -> Fetched | FetchFailed:
        image = found[key]
        if isinstance(image, FetchFailed) or not _may_have(key):
            return image
        meta, facts, there, lacking = Meta(), list[str](), list[str](), False
        if label := self._label(key):
            meta.label(label)
        for name, sidecar in names.items():
            got = found[sidecar]
            if isinstance(got, FetchFailed):
                if not got.is_verdict:
                    return replace(got, key=key)
                if listed:
                    meta.leave_out(file_name(key, name), got.reason)
                    lacking = True
                continue  # there is none, if it was not listed
            if len(got.data) > MAX_FILE:  # an object of its own, also if it has only just become so large
                continue
            there.append(name)
            facts.append(f"{name} {got.etag}")
            meta.file(file_name(key, name), got.data)
        _say(key, shared, meta)
        facts += self._facts(key, shared)
        # What cannot be read has no etag but the listing's: with another one the image would be encoded every night.
        as_listed = lacking and unmarked(listed)[0] == image.etag
        return replace(image, etag=listed if as_listed else marked(image.etag, there, facts), meta=meta.text())


def _say(key: str, shared: SharedSidecars, meta: Meta) -> None:
    """Add what files of metadata and annotations say of an image."""
    coco: list[str] = []
    rows = 0
    for file, member in shared.find(key):
        if member.problem is not None:
            meta.leave_out(file.part, member.problem)
        elif file.part == COCO:
            coco.append(described(file, member.place))
        elif not rows:  # of several, that of the nearest folder
            rows += 1
            meta.part(METADATA, member.place)
    if coco:
        meta.part(COCO, f"[{','.join(coco)}]")


def _may_be_sidecar(entry: Entry) -> bool:
    return entry.size <= MAX_FILE and not is_shared(entry.key)


def _may_have(key: str) -> bool:
    """Whether an object may have a label and sidecars."""
    return is_image(key) and sidecar_of(key) is None and not is_shared(key)
