"""Byte counts, durations and foreign text as every job and page shows them."""

import unicodedata

_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, halves of surrogate pairs, line and paragraph separators."""
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which others are shown."""


def printable(text: str) -> str:
    """Foreign text as one line that does nothing to a terminal: its control characters are written as escapes.

    Keys and reasons may hold any character: ESC begins commands to terminals, and a line end would
    begin a line that looks like ours.
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if unicodedata.category(c) in _UNSEEN or c in _DIRECTIONS else c for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def counted(count: int, what: str) -> str:
    """A number of things: "1 shard", "1,200 shards"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def size(count: float) -> str:
    """A byte count with a decimal unit: "999 B", "1.2 GB"; terabytes are the largest."""
    for unit in ("B", "kB", "MB", "GB"):
        digits = 0 if unit == "B" else 1
        if round(count, digits) < 1000:  # as it is shown: no "1000.0 kB"
            return f"{count:.{digits}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds in at most two units: "42 s", "3 min 20 s", "5 h 12 min", "1,200 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole >= 360_000:
        return f"{whole // 3600:,} h"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
