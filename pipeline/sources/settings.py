"""The settings that say how a source is read, as plain alternatives to what may stand behind `#` in its address."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.storage.address import OPTIONS, SIDECARS, Address, parse
from pipeline.storage.base import StorageError


class SourceView(BaseModel):
    """How the objects of a source are read; the address in the settings' own field gets it behind a `#`."""

    place: ClassVar[str] = "source"
    """The field with the address."""

    members: str = Field(
        "", description="archive files of the source that are opened, as globs: *.tar,*.zip (as SOURCE#members=GLOBS)"
    )
    image_column: str = Field(
        "", description="the source's Parquet files are tables, and this column holds the images (#table&image=COLUMN)"
    )
    key_column: str = Field(
        "", description="the source is a table, and this column holds the keys of its rows (#table&key=COLUMN)"
    )

    @model_validator(mode="after")
    def _view_in_address(self) -> Self:
        given: dict[str, Any] = {
            name: value for name in SourceView.model_fields if (value := getattr(self, name, "")) not in ("", False)
        }
        if getattr(self, SIDECARS, False):
            given[SIDECARS] = True
        address = getattr(self, self.place)
        if given:
            if not address:
                raise ValueError(f"--{next(iter(given)).replace('_', '-')} needs a {self.place}")
            object.__setattr__(self, self.place, viewed(address, given))
        return self


class SidecarChoice(SourceView):
    """The same for jobs that write an archive."""

    sidecars: bool = Field(
        False,
        description="labels and sidecars go with the images, in the column meta: folders, metadata.jsonl, COCO, a.json "
        "beside a.jpg, other columns of tables (as SOURCE#sidecars)",
    )


def viewed(url: str, given: dict[str, Any]) -> str:
    """An address with what flags say of its view.

    Raises:
        ValueError: when the address says another thing, or the flags contradict each other.
    """
    try:
        address = parse(url)
    except StorageError as e:
        raise ValueError(e.message) from None
    flags = {name: f"--{name.replace('_', '-')}" for name in given}
    table = [flags[name] for name in ("image_column", "key_column") if name in given]
    if "members" in given and table:
        raise ValueError(f"{flags['members']} is for archive files, and {table[0]} for tables: give one of them")
    kind = "members" if "members" in given else "table" if table else address.kind or SIDECARS
    if address.kind not in ("", SIDECARS, kind):
        raise ValueError(f"{next(iter(flags.values()))} does not fit {url}, which has #{address.kind}")
    wanted = {"value": given.get("members", ""), "image": given.get("image_column"), "key": given.get("key_column")}
    options = dict(address.options)
    for name in ("image", "key"):
        if wanted[name]:
            _same(options.get(name, wanted[name]), wanted[name], flags[f"{name}_column"], url)
            options[name] = wanted[name]
    if wanted["value"]:
        _same(address.value or wanted["value"], wanted["value"], flags["members"], url)
    if SIDECARS in given or address.kind == SIDECARS:
        if kind != SIDECARS and SIDECARS not in OPTIONS[kind]:
            raise ValueError(f"--sidecars does not fit {url}: #{kind} has none")
        if kind != SIDECARS:
            options[SIDECARS] = ""
    return str(Address(address.place, kind, address.value or wanted["value"], options))


def _same(there: str, wanted: str, flag: str, url: str) -> None:
    if there != wanted:
        raise ValueError(f"{flag} {wanted} contradicts {url}: give it in one place")
