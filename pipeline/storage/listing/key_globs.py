"""Globs that choose objects of a source by their keys.

    *.mov          a file name, in any folder
    @eaDir/        a folder name, at any depth, with everything below it
    2023/*.jpg     a whole key: `*` and `?` do not cross "/"
    2023/**        everything below; `**/x.jpg` is x.jpg at any depth

Upper and lower case differ; `[jJ]` stands for either. They are applied to the keys as they are listed.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field


def pattern_of(glob: str) -> str:
    """A regular expression that matches the keys that a glob chooses, for `re.fullmatch`.

    Raises:
        ValueError: for a glob that can match nothing.
    """
    below = glob.endswith("/")
    parts = [part for part in glob.split("/") if part]
    if not parts or "\0" in glob:
        raise ValueError(f"{glob!r} is no glob of keys: write *.mov, folder/ or folder/*.jpg")
    anywhere = len(parts) == 1 and not glob.startswith("/")
    text = "".join(_part(part, last=i == len(parts) - 1) for i, part in enumerate(parts))
    return ("(?:.*/)?" if anywhere and parts != ["**"] else "") + text + ("/.*" if below else "")


def _part(part: str, *, last: bool) -> str:
    """One part between slashes, with the slash behind it unless it is the last."""
    if part == "**":
        return ".*" if last else "(?:.*/)?"
    out, at = "", 0
    while at < len(part):
        char = part[at]
        closing = part.find("]", at + 2)
        if char == "[" and closing > 0:
            inside = part[at + 1 : closing].replace("\\", "\\\\").replace("[", "\\[").replace("^", "\\^")
            out += f"(?!/)[{'^' + inside[1:] if inside.startswith('!') else inside}]"
            at = closing
        else:
            out += {"*": "[^/]*", "?": "[^/]"}.get(char, re.escape(char))
        at += 1
    return out + ("" if last else "/")


@functools.lru_cache(maxsize=64)
def _compiled(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern_of(glob)})" for glob in globs), re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeyGlobs:
    """A choice of keys: those that match one of `include` (all where it is empty), but none of `exclude`."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def everything(self) -> bool:
        """Whether every key is chosen."""
        return not (self.include or self.exclude)

    def chooses(self, key: str) -> bool:
        """Whether a key is chosen."""
        if self.include and not _compiled(self.include).fullmatch(key):
            return False
        return not (self.exclude and _compiled(self.exclude).fullmatch(key))


EVERYTHING = KeyGlobs()


def _listed(value: Any) -> Any:
    """Globs as a list: a text, as a variable holds it, is divided at commas, and so is each of several texts."""
    texts: Sequence[Any] = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a glob or a list of globs")
    return tuple(glob.strip() for text in texts for glob in text.split(",") if glob.strip())


def _checked(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        try:
            re.compile(pattern_of(glob))
        except re.error as e:
            raise ValueError(f"{glob!r} is no glob of keys ({e})") from None
    return globs


Globs = Annotated[tuple[str, ...], BeforeValidator(_listed), AfterValidator(_checked)]
"""The type of a settings field that holds globs."""


class SourceChoice(BaseModel):
    """The settings of a job that takes a part of its source."""

    include: Globs = Field((), description="take only objects whose key matches this glob; may be given several times")
    exclude: Globs = Field(
        (), description="leave out objects whose key matches this glob (*.mov, @eaDir/); may be given several times"
    )

    def globs(self) -> KeyGlobs:
        """The choice of keys."""
        return KeyGlobs(self.include, self.exclude)
