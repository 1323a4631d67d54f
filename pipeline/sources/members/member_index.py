"""Where the members of a container lie: made once per container and version, kept in the user's cache folder.

An index is an SQLite file: sorted by key on disk, so that neither listing nor look-ups hold it in
memory, however many members there are. Processes of one machine share it; another machine makes its
own. It holds names and offsets, no bytes of images, and is made again when it is missing or damaged.
"""

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.storage.base import StorageError
from pipeline.storage.cache_folder import cache_folder_of, remove_least_recently_used
from pipeline.storage.keys import leads_out
from pipeline.storage.local.disk_errors import cannot_write, sqlite_errors
from pipeline.storage.local_names import key_of

FORMAT = 2
"""Part of the name of every index; another number when its meaning changes."""
MAX_MEMBERS = 50_000_000
MAX_KEY = 4096
"""Longest key of a member, in bytes."""
CACHE_BYTES = 8 << 30
"""The indexes that were not used for the longest time are removed beyond this."""
_NUMBERS = 1 << 63
"""SQLite's numbers are below."""
_REMEDY = "free space there, or set XDG_CACHE_HOME to a folder on another disk"


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a container.

    Attributes:
        key: below the container.
        size: in bytes, unpacked; an index holds 0 where there is a problem, as nothing confirms the claim.
        place: where it is, in a form of the container's own.
        problem: why it cannot be read, in a few words; None when it can.
        etag: of the member; None where only the container has one.
        modified_ns: time of its last change, None where the container does not tell.
    """

    key: str
    size: int
    place: str = ""
    problem: str | None = None
    etag: str | None = None
    modified_ns: int | None = None


class Builder:
    """Takes the members in the order of the container.

    Attributes:
        kind: of the container, as its reader names it; empty while nobody knows.
    """

    def __init__(self, path: Path) -> None:
        """Args: path: of the new file."""
        self._db = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-16384"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute(
            "CREATE TABLE members (key TEXT PRIMARY KEY, size INT, place TEXT, problem TEXT, etag TEXT, modified INT)"
            " WITHOUT ROWID"
        )
        self._db.execute("CREATE TABLE facts (damage TEXT, kind TEXT, version TEXT)")
        self._db.execute("CREATE TABLE numbers (key TEXT PRIMARY KEY, used INT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        self.members = 0
        self.kind = ""

    def add(self, member: Member) -> None:
        """Add a member. Of two with one key the later counts, as for all that unpack; the earlier has a problem.

        One that cannot be read never takes the place of one that can.

        Raises:
            TooManyMembers: for more than MAX_MEMBERS.
        """
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise TooManyMembers
        if problem := problem_with(member.key):
            name = member.key[:MAX_KEY].replace("\0", "\ufffd").encode("utf-8", "replace").decode() or "(no name)"
            member = Member(name, member.size, problem=member.problem or problem, etag=member.etag)
        if member.problem is not None:
            member = replace(member, size=0)
        if member.modified_ns is not None and not -_NUMBERS <= member.modified_ns < _NUMBERS:
            member = replace(member, modified_ns=None)
        earlier = self.find(member.key)
        if earlier is None:
            self._insert(member)
        elif member.problem is None:
            self._db.execute("DELETE FROM members WHERE key = ?", (member.key,))
            self._insert(member)
            self._insert_beside(earlier, earlier.problem or "a later member has the same name")
        else:
            self._insert_beside(member, member.problem)

    def find(self, key: str) -> Member | None:
        """The member with a key, if there is one so far."""
        return _one(self._db, key)

    def finish(self, damage: str | None, version: str) -> None:
        """Write the file to its end.

        Args:
            damage: why the container could not be read to its end, or None.
            version: the container's etag.
        """
        self._db.execute("INSERT INTO facts VALUES (?, ?, ?)", (damage, self.kind, version))
        self._db.execute("DROP TABLE numbers")
        self._db.execute("COMMIT")
        self._db.close()

    def close(self) -> None:
        """Give up."""
        self._db.close()

    def _insert_beside(self, member: Member, problem: str) -> None:
        """Add what cannot have its own key, under one that is free.

        Numbers go on from the last one: a container of a million members of one name must not take hours.
        """
        used = self._db.execute("SELECT used FROM numbers WHERE key = ?", (member.key,)).fetchone()
        number = used[0] + 1 if used else 2
        while self.find(key := f"{member.key} ({number})") is not None:
            number += 1
        self._db.execute("REPLACE INTO numbers VALUES (?, ?)", (member.key, number))
        self._insert(Member(key, 0, "", problem, member.etag))

    def _insert(self, member: Member) -> None:
        row = (member.key, member.size, member.place, member.problem, member.etag, member.modified_ns)
        self._db.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?, ?)", row)


class TooManyMembers(Exception):
    """A container claims more members than an index takes."""


class MemberIndex:
    """A finished index.

    Attributes:
        damage: why the container could not be read to its end, None when it was.
        kind: of the container; empty for one that no reader knows.
        version: its etag.
    """

    damage: str | None
    kind: str
    version: str

    def __init__(self, path: Path) -> None:
        """Open an index. The file may be removed meanwhile.

        Raises:
            sqlite3.Error: when it is no index.
        """
        self._path = path
        self._db = sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
        ((self.damage, self.kind, self.version),) = self._db.execute("SELECT * FROM facts").fetchall()

    def __del__(self) -> None:
        if hasattr(self, "_db"):
            self._db.close()

    def members(self) -> Iterator[Member]:
        """All members, sorted by key.

        Raises:
            StorageError: when the file is damaged; it is removed.
        """
        with self._whole():
            for row in self._db.execute("SELECT * FROM members ORDER BY key"):
                yield Member(*row)

    def find(self, keys: Sequence[str]) -> list[Member | None]:
        """The members with these keys; raises as `members` does."""
        with self._whole():
            return [_one(self._db, key) for key in keys]

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """A file that is damaged leaves the cache: the next run makes it again."""
        try:
            yield
        except sqlite3.DatabaseError as e:
            self._path.unlink(missing_ok=True)
            raise StorageError(f"the index {self._path} is damaged ({e}) and was removed: run again") from None


def member_key(name: str) -> str:
    """The key of a name without `./` and empty parts; a `/` at the front and `..` stay, and are refused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    ends = "/" if name.endswith("/") and parts else ""
    return key_of(("/" if name.startswith("/") else "") + "/".join(parts) + ends)


def problem_with(key: str) -> str | None:
    """Why a name in a container cannot be a key, in a few words; None when it can."""
    if not key:
        return "its name is empty"
    if key.endswith("/"):
        return "its name is that of a folder"
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY:
        return f"its name is longer than {MAX_KEY} bytes"
    if any(0xD800 <= ord(char) < 0xE000 for char in key):
        return "its name is no text"
    reason = leads_out(key)
    return None if reason is None else f"its name cannot be a key: {reason}"


def index_of(name: Sequence[str], build: Callable[[Builder], str | None]) -> MemberIndex:
    """The index of one version of a container, from the cache or made now.

    Args:
        name: what identifies the container, and its etag last.
        build: adds the members; returns why the container could not be read to its end, or None.

    Raises:
        Unwritable: when the cache's disk takes nothing.
        Exception: any error of `build`; then nothing is kept.
    """
    digest = hashlib.sha256("\0".join((str(FORMAT), *name)).encode("utf-8", "surrogatepass")).hexdigest()
    path = cache_folder_of("indexes") / f"{digest}.sqlite"
    try:
        found = MemberIndex(path)
        os.utime(path)
        return found
    except (sqlite3.Error, OSError, ValueError):
        pass
    temporary = path.with_name(f"{digest}.{secrets.token_hex(8)}")
    what = f"the cache of indexes, {path.parent},"
    try:
        with sqlite_errors(what, _REMEDY):
            builder = Builder(temporary)
            try:
                builder.finish(build(builder), name[-1])
            finally:
                builder.close()
        os.replace(temporary, path)
        found = MemberIndex(path)
        remove_least_recently_used(path.parent.glob("*.sqlite"), CACHE_BYTES)
        return found
    except OSError as e:
        raise cannot_write(what, e, _REMEDY) from e
    finally:
        temporary.unlink(missing_ok=True)


def _one(db: sqlite3.Connection, key: str) -> Member | None:
    row = db.execute("SELECT * FROM members WHERE key = ?", (key,)).fetchone()
    return None if row is None else Member(*row)
