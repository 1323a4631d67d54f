"""Addresses of sources: a place, and how its objects are to be read, behind a `#`.

    s3://clips#frames=30                      videos as folders of frames
    s3://shards#members                       tars and zips as folders of their members
    s3://shards#members=train/*.tar           only these
    s3://sets/photos#table&image=image        rows of Parquet files
    s3://sets/photos#table&key=id             the same, with keys of their own; of a Delta or Iceberg table
    s3://photos#inventory=s3://lists/nightly  a bucket, listed by its S3 Inventory
    s3://lists/laion.parquet#urls             the images at the web addresses of a list
    s3://photos#sidecars                      images with their labels and sidecars
    s3://shards#members&sidecars              the same of members, and of rows

A `#` that no such word follows is part of the place. A value may hold percent codes, as in other URLs.
"""

import os
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from pipeline.storage.base import StorageError
from pipeline.storage.listing.key_globs import pattern_of

SIDECARS = "sidecars"
"""The option that asks for labels and sidecars; without another view it is one itself."""
OPTIONS = {
    "frames": (),
    "members": (SIDECARS,),
    "table": ("image", "key", SIDECARS),
    "inventory": (SIDECARS,),
    SIDECARS: (),
    "urls": ("url", "check", "perhost", "private", "robots"),
}
"""The kinds of views, and the options that each one knows."""

_VIEW = re.compile(rf"(.*)#({'|'.join(OPTIONS)})(?:=([^&#]*))?((?:&[a-z]+(?:=[^&#]*)?)*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """A source's address in its parts.

    Attributes:
        place: URL of the folder, bucket or file.
        kind: of the view, a key of OPTIONS; empty for the objects as they are.
        value: behind the kind, such as 30 in `#frames=30`; empty where there is none.
        options: the further ones, by name.
    """

    place: str
    kind: str = ""
    value: str = ""
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.kind:
            return self.place
        value = f"={quote(self.value, safe='*?[]!/,.:')}" if self.value else ""
        more = (f"&{name}={quote(text, safe='/.:')}" if text else f"&{name}" for name, text in self.options.items())
        return f"{self.place}#{self.kind}{value}{''.join(more)}"


def parse(url: str | os.PathLike[str]) -> Address:
    """The parts of an address.

    Raises:
        StorageError: for an option that the kind of view does not know.
    """
    text = os.fspath(url)
    found = _VIEW.fullmatch(text)
    if found is None:
        return Address(text)
    place, kind, value, more = found.groups()
    options = {}
    for part in more.split("&")[1:]:
        name, _, setting = part.partition("=")
        if name not in OPTIONS[kind]:
            known = ", ".join(OPTIONS[kind]) or "none"
            raise StorageError(f"{text}: #{kind} has no option {name!r} (it has: {known})")
        options[name] = unquote(setting)
    return Address(place, kind, unquote(value or ""), options)


def globs_of(address: Address, default: tuple[str, ...]) -> tuple[str, ...]:
    """The globs in an address's value.

    Raises:
        StorageError: for one that can match nothing.
    """
    globs = tuple(glob.strip() for glob in address.value.split(",") if glob.strip()) or default
    for glob in globs:
        try:
            re.compile(pattern_of(glob))
        except (ValueError, re.error) as e:
            raise StorageError(f"{address}: {e}") from None
    return globs
