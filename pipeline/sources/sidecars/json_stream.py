"""A JSON document of any size, read piece by piece: memory holds a block and one value."""

import json
import re
from collections.abc import Iterator
from typing import TextIO

from model.core.errors import MaepressError

_BLOCK = 1 << 18
_SPACE = re.compile(r"[ \t\n\r]*")
_STRUCTURE = re.compile(r'["\[\]{},]')
_IN_TEXT = re.compile(r'["\\]')


class BadJson(MaepressError):
    """The document is no JSON, or not as it ought to be; the text says where."""


class JsonStream:
    """Reads a document from its beginning.

    stream = JsonStream(file)
    for name in stream.members():
        if name == "images":
            for text in stream.elements(1 << 20): ...
        else:
            stream.skip()
    """

    def __init__(self, file: TextIO) -> None:
        """Args: file: the document."""
        self._file = file
        self._text, self._at, self._before = "", 0, 0
        self._ended = False
        self.too_large = 0
        """Elements that were passed over, as they were longer than asked for."""

    def members(self) -> Iterator[str]:
        """The names of an object's members; each value has to be read before the next name.

        Raises:
            BadJson: when there is no object.
        """
        self._expect("{")
        while self._next() != "}":
            name = json.loads(self._value(1 << 16) or '""')
            if not isinstance(name, str):
                raise self._bad()
            self._expect(":")
            yield name
            if self._next() != "}":
                self._expect(",")
        self._at += 1

    def elements(self, longest: int) -> Iterator[str]:
        """The elements of an array, as texts; longer ones are counted and passed over.

        Raises:
            BadJson: when there is no array.
        """
        self._expect("[")
        while self._next() != "]":
            text = self._value(longest)
            if text is None:
                self.too_large += 1
                self.skip()
            else:
                yield text
            if self._next() != "]":
                self._expect(",")
        self._at += 1

    def skip(self) -> None:
        """Pass over a value, however large it is."""
        level = 0
        while True:
            found = _STRUCTURE.search(self._text, self._at)
            if found is None:
                self._at = len(self._text)
                if not self._more():
                    raise self._bad()
                continue
            if (found[0] == "," and not level) or (found[0] in "]}" and not level):
                self._at = found.start()
                return
            self._at = found.end()
            if found[0] == '"':
                self._skip_text()
            elif found[0] != ",":
                level += 1 if found[0] in "[{" else -1

    def _skip_text(self) -> None:
        while True:
            found = _IN_TEXT.search(self._text, self._at)
            self._at = len(self._text) if found is None else found.end()
            if found is not None and found[0] == '"':
                return
            while found is not None and self._at >= len(self._text):  # what follows a backslash
                if not self._more():
                    raise self._bad()
            if found is None and not self._more():
                raise self._bad()
            self._at += found is not None

    def _value(self, longest: int) -> str | None:
        """The next value as its text; None for a longer one, which is not passed over."""
        self._next()
        while True:
            try:
                _, end = json.JSONDecoder().raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # of a number, more digits may follow
                    text = self._text[self._at : end]
                    if len(text) > longest:
                        return None
                    self._at = end
                    return text
            except RecursionError:
                raise self._bad("its brackets are too deep") from None
            except ValueError:
                if self._ended:
                    raise self._bad() from None
            if len(self._text) - self._at > longest:
                return None
            self._more()

    def _next(self) -> str:
        """The next character that is no space."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise self._bad()

    def _expect(self, what: str) -> None:
        if self._next() != what:
            raise self._bad()
        self._at += 1

    def _more(self) -> bool:
        """Read on. False at the end."""
        try:
            block = self._file.read(max(_BLOCK, len(self._text) - self._at))  # what is read twice does not add up
        except UnicodeDecodeError:
            raise self._bad("it is not UTF-8") from None
        self._before += self._at
        self._text, self._at = self._text[self._at :] + block, 0
        self._ended = not block
        return bool(block)

    def _bad(self, reason: str = "it is no JSON, or not as it ought to be,") -> BadJson:
        return BadJson(f"{reason} near character {self._before + self._at:,}")
