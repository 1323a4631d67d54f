"""Images and their sidecar files, brought together in one pass over a listing.

In byte order, `a.cls` comes before `a.jpg`, and `a.json` behind it. So objects are held until the
listing has passed all names that begin with theirs and a dot.
"""

from collections import deque
from collections.abc import Callable, Iterator

from pipeline.sources.sidecars.sidecar_names import candidates, divided, is_image, sidecar_of
from pipeline.storage.base import Entry

MOST_HELD = 1 << 16
"""Objects that are held at most: a folder of names that all begin alike does not fill the memory."""


def paired(
    entries: Iterator[Entry], may_be_sidecar: Callable[[Entry], bool]
) -> Iterator[tuple[Entry, dict[str, Entry] | None]]:
    """Every object but the sidecars of others; images with their sidecars by name, others with None.

    Args:
        entries: in key order.
        may_be_sidecar: whether an object with the name of a sidecar may be one.
    """
    window = _Window()
    for entry in entries:
        while window.held and (entry.key >= window.end or len(window.held) >= MOST_HELD):
            yield from window.pop()
        window.add(entry, sidecar_of(entry.key) is not None and may_be_sidecar(entry))
    while window.held:
        yield from window.pop()


class _Window:
    """The objects that are held, and what is known of them."""

    def __init__(self) -> None:
        self.held: deque[Entry] = deque()
        self.end = ""
        self._sidecars: dict[str, Entry] = {}
        self._images: dict[str, set[str]] = {}
        """Keys of held images, by their keys with and without suffix."""
        self._early: dict[str, dict[str, Entry]] = {}
        """Sidecars that have left the window before their image, by its key."""
        self._taken: set[str] = set()

    def add(self, entry: Entry, may_be_sidecar: bool) -> None:
        self.held.append(entry)
        if may_be_sidecar:
            self._sidecars[entry.key] = entry
        elif is_image(entry.key):
            for name in {entry.key, divided(entry.key)[0]}:
                self._images.setdefault(name, set()).add(entry.key)
        self._set_end()

    def pop(self) -> Iterator[tuple[Entry, dict[str, Entry] | None]]:
        entry = self.held.popleft()
        self._set_end()
        if self._sidecars.pop(entry.key, None) is not None:
            owners = self._images.get(sidecar_of(entry.key) or "", ())
            for owner in owners:
                self._early.setdefault(owner, {})[entry.key] = entry
            if not owners and entry.key not in self._taken:
                yield entry, None
            self._taken.discard(entry.key)
        elif is_image(entry.key) and sidecar_of(entry.key) is None:
            yield entry, self._found(entry.key)
        else:
            yield entry, None

    def _found(self, key: str) -> dict[str, Entry]:
        for name in {key, divided(key)[0]}:
            self._images[name].discard(key)
            if not self._images[name]:
                del self._images[name]
        early = self._early.pop(key, {})
        found: dict[str, Entry] = {}
        for name, sidecar in candidates(key).items():
            if sidecar in self._sidecars:
                found[name] = self._sidecars[sidecar]
                self._taken.add(sidecar)
            elif sidecar in early:
                found[name] = early[sidecar]
        return found

    def _set_end(self) -> None:
        """The first key with which the first object can be let go: "/" follows "." in the order of bytes."""
        self.end = divided(self.held[0].key)[0] + "/" if self.held else ""
