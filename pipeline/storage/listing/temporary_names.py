"""Names of maepress' own temporary files: unfinished ones, and probes of what a place can do.

Listings leave them out: to a job that runs beside the one that made them, and to every later job if
that one was killed, they are no objects of the place.
"""

import re
import secrets
import unicodedata

TEMPORARY = ".maepress-"
"""Beginning of the names, before 16 hexadecimal digits; other names that begin so are ordinary."""
ACCENTED = "-Na\u00efve"
"""May follow the digits: a capital and an accent, by which a probe finds how a file system compares names."""
PATTERN = f"(?:.*/)?{re.escape(TEMPORARY)}[0-9a-f]{{16}}(?:{ACCENTED}|{unicodedata.normalize('NFD', ACCENTED)})?"
"""Regular expression of whole keys that end with such a name; its dot stands for every character."""
_NAME = re.compile(PATTERN, re.DOTALL)


def temporary_name() -> str:
    """A new name."""
    return f"{TEMPORARY}{secrets.token_hex(8)}"


def is_temporary(key: str) -> bool:
    """Whether the last part of a key, or a file name, is such a name."""
    return TEMPORARY in key and _NAME.fullmatch(key) is not None
