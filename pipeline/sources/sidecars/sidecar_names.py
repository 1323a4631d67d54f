"""Which files are sidecars of which images, by their names alone, and how an etag says which there are.

Of `a.jpg`, these are `a.json`, `a.txt`, `a.cls`, `a.xmp`, and the same behind its whole name (`a.jpg.json`). The
etag of an image with sidecars is its own, followed by `+`, their names, `~` and a fingerprint of
them: `1024-1700000000+json,.txt~0123456789abcdef`, a name with a dot being behind the whole name.
"""

import hashlib
import re
from collections.abc import Iterable

SUFFIXES = ("cls", "json", "txt", "xmp")
_IMAGES = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "bmp", "gif", "avif", "heic", "heif", "jxl"),
        *("jp2", "j2k", "jpx", "ppm", "pgm", "pbm", "pnm", "psd", "mae"),
        *("dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "pef", "srw"),
    )
)
"""Suffixes of images, cameras' own formats among them."""
_MARK = re.compile(r"\+([a-z.,]*)~([0-9a-f]{16})")


def divided(key: str) -> tuple[str, str]:
    """A key without its suffix, and the suffix, empty where the last part has none."""
    at = key.rfind(".", key.rfind("/") + 2)
    return (key, "") if at < 0 else (key[:at], key[at + 1 :])


def is_image(key: str) -> bool:
    """Whether a key may be that of an image: by its suffix, or because it has none."""
    suffix = divided(key)[1]
    return not suffix or suffix.lower() in _IMAGES


def sidecar_of(key: str) -> str | None:
    """What is before the suffix of a sidecar's key: an image's key, with or without its suffix. None for others."""
    stem, suffix = divided(key)
    return stem if suffix in SUFFIXES else None


def candidates(key: str) -> dict[str, str]:
    """The keys that sidecars of an image may have, by the names that etags have for them."""
    stem, suffix = divided(key)
    found = {name: f"{stem}.{name}" for name in SUFFIXES}
    return found | {f".{name}": f"{key}.{name}" for name in SUFFIXES} if suffix else found


def file_name(key: str, name: str) -> str:
    """What follows the image's name without suffix and a dot: `jpg.json` for the name `.json` beside `a.jpg`."""
    return divided(key)[1] + name if name.startswith(".") else name


def marked(etag: str, names: Iterable[str], facts: Iterable[str]) -> str:
    """The etag of an image with what belongs to it.

    Args:
        etag: of the image's file.
        names: of its sidecar files.
        facts: texts that change when something that belongs to it changes; none: the etag stays.
    """
    text = "\n".join(facts)
    if not text:
        return etag
    return f"{etag}+{','.join(names)}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def unmarked(etag: str) -> tuple[str, tuple[str, ...]]:
    """The etag of an image's own file, and the names of its sidecar files."""
    found = next((found for found in _MARK.finditer(etag) if found.end() == len(etag)), None)
    if found is None:
        return etag, ()
    return etag[: found.start()], tuple(name for name in found[1].split(",") if name.lstrip(".") in SUFFIXES)
