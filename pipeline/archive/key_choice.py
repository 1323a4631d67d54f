"""Choosing keys by a glob, or by a file that lists them: `--keys '2024/*'`, `--keys @list.txt`."""

import fnmatch
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from model.core.errors import MaepressError

LIST_MARK = "@"
DESCRIPTION = "a glob of keys (* crosses /, [ab] and ? work), or @FILE with one key per line"


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """Some keys.

    Attributes:
        glob: for `fnmatch.fnmatchcase`; empty when there is a list.
        listed: the keys of a list, in byte order.
        known: the same, to look them up.
    """

    glob: str
    listed: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()

    @classmethod
    def of(cls, text: str) -> "KeyChoice":
        """The choice that a setting describes.

        Args:
            text: a glob, or "@" and the path of a file in UTF-8 with one key per line. A glob that begins with "@" is
                written "[@]".

        Raises:
            MaepressError: when the file cannot be read or lists nothing.
        """
        if not text.startswith(LIST_MARK):
            return cls(text)
        path = Path(text.removeprefix(LIST_MARK))
        try:
            lines = path.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as e:
            reason = (e.strerror if isinstance(e, OSError) else None) or "it is not UTF-8"
            raise MaepressError(f"the list of keys {path} cannot be read: {reason}") from None
        keys = frozenset(line.removesuffix("\r") for line in lines) - {""}
        if not keys:
            raise MaepressError(f"the list of keys {path} is empty")
        return cls("", tuple(sorted(keys, key=str.encode)), keys)

    def __contains__(self, key: str) -> bool:
        return key in self.known if self.known else fnmatch.fnmatchcase(key, self.glob)

    def may_be_between(self, first: str, last: str) -> bool:
        """Whether a range of keys, both ends included, can hold one of the keys."""
        if self.known:
            at = bisect_left(self.listed, first.encode(), key=str.encode)
            return at < len(self.listed) and self.listed[at].encode() <= last.encode()
        prefix = literal_prefix(self.glob)
        return last >= prefix and first <= prefix + "\U0010ffff"


def literal_prefix(glob: str) -> str:
    """The longest prefix of every key that can match the glob."""
    special = [glob.index(c) for c in "*?[" if c in glob]
    return glob[: min(special)] if special else glob
