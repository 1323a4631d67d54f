"""Tars and zips as folders of their members, read by ranges: `s3://shards#members`.

A member's key is that of its archive file, a slash and its name. Nothing is unpacked to disk. Other
objects are passed on, and so is an archive file inside another one, as a file.
"""

from pipeline.sources.members import tar_index, zip_index
from pipeline.sources.members.container_file import ContainerFile
from pipeline.sources.members.container_store import ContainerStore
from pipeline.sources.members.member_index import Builder, Member, MemberIndex
from pipeline.storage.base import FetchFailed, Store

GLOBS = ("*.tar", "*.zip")
"""The archive files that are opened where the address names none."""
_NO_ARCHIVE = "it is neither a tar nor a zip, or begins with damage"
_PACKED = "it is compressed as a whole, so that its members have no places: unpack it to a .tar"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")


class MemberStore(ContainerStore):
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
        super().__init__(inner, "#members" if globs == GLOBS else f"#members={','.join(globs)}", globs)

    def __reduce__(self) -> tuple[type["MemberStore"], tuple[Store, tuple[str, ...]]]:
        return MemberStore, (self.inner, self._globs.include)

    def child(self, name: str) -> "MemberStore":
        """See Store."""
        return MemberStore(self.inner.child(name), self._globs.include)

    def _build(self, file: ContainerFile, add: Builder) -> str | None:
        """See ContainerStore."""
        head = file.read(0, tar_index.BLOCK)
        if zip_index.is_zip(head):
            add.kind = "zip"
            return zip_index.build(file, add)
        if tar_index.is_tar(head):
            add.kind = "tar"
            return tar_index.build(file, add)
        return _PACKED if head.startswith(_COMPRESSED) else _NO_ARCHIVE

    def _payloads(
        self, container: str, index: MemberIndex, members: list[Member], max_bytes: int | None
    ) -> list[bytes | FetchFailed] | FetchFailed:
        """See ContainerStore."""
        del max_bytes  # their sizes are known
        reader = zip_index.read if index.kind == "zip" else tar_index.read
        return reader(self.inner, container, index.version, members)
