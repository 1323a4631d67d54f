"""Keys of web addresses: `https://example.com/a/b.jpg?w=2` has the key `https/example.com/a/b.jpg?w=2`.

The key is the address itself, with a slash for `://`, so that equal addresses have equal keys, different
ones have different keys, and a key gives its address back without any table. Before, an address is brought
into one form: scheme and host in lower case, the host in its ASCII form, no default port, no fragment,
characters that no address may hold as percent codes. Percent codes that are there stay as they are.

What would be no sound key is escaped by codes that no address has, as its `%` always has two digits behind it:

    part of the address     part of the key
    empty, as in `a//b`     %-
    `.` and `..`            %-. and %-..
    longer than 200 bytes   pieces of 200, each but the first with %+ before it
"""

import hashlib
import re
from functools import lru_cache
from urllib.parse import quote, urlsplit

MAX_URL = 4000
"""Longest address, in characters."""
INVALID = "invalid/"
"""Begins the keys of rows that hold no address; no address has such a key."""
PART = 200

_SCHEMES = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,253})")
_ADDRESS_V6 = re.compile(r"[0-9a-f:.]{2,45}")
_PLAIN = re.compile(
    r"(https?)://([a-z0-9_][a-z0-9_.-]*(?:/(?:[\w.~!$&'()*+,:;=@-]|%[0-9A-Fa-f]{2})+)+"
    r"(?:\?(?:[\w.~!$&'()*+,:;=@-]|%[0-9A-Fa-f]{2})+)?)",
    re.ASCII,
)
"""Most addresses: nothing in them has to be changed or escaped, if they are short and no part begins with a dot."""
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = "%!#$&'()*+,/:;=?@[]~"
_STRIPPED = "".join(map(chr, range(33)))
_REASONS = {
    "empty": "the row has no address",
    "long": f"the address is longer than {MAX_URL} characters",
    "scheme": "its scheme is neither http nor https",
    "credentials": "the address carries a user name or a password",
    "host": "the address has no valid host or port",
    "text": "the address is no text",
}


class InvalidUrl(ValueError):
    """A text that is no address; `kind` is the word for it in keys."""

    def __init__(self, kind: str) -> None:
        """Args: kind: a key of the reasons."""
        super().__init__(_REASONS[kind])
        self.kind = kind


def plain_url(text: str) -> str:
    """An address in the one form that has a key.

    Raises:
        InvalidUrl: when it is none that may be fetched.
    """
    text = text.strip(_STRIPPED)
    if not text:
        raise InvalidUrl("empty")
    if len(text) > MAX_URL:
        raise InvalidUrl("long")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InvalidUrl("host") from None
    if parts.scheme not in _SCHEMES:
        raise InvalidUrl("scheme")
    if "@" in parts.netloc:
        raise InvalidUrl("credentials")
    host = _host(parts.hostname or "")
    if port is not None and port != _SCHEMES[parts.scheme]:
        host = f"{host}:{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        target = quote(_LONE_PERCENT.sub("%25", target), safe=_SAFE)
    except UnicodeEncodeError:
        raise InvalidUrl("text") from None
    if len(target) > 3 * MAX_URL:
        raise InvalidUrl("long")
    return f"{parts.scheme}://{host}{target}"


@lru_cache(maxsize=1024)
def _host(name: str) -> str:
    if ":" in name:
        if _ADDRESS_V6.fullmatch(name):
            return f"[{name}]"
        raise InvalidUrl("host")
    try:
        name = name if name.isascii() else name.encode("idna").decode().lower()
    except UnicodeError:
        raise InvalidUrl("host") from None
    if not _NAME.fullmatch(name):
        raise InvalidUrl("host")
    return name


def key_of_url(text: str | None) -> str:
    """The key of an address; of a text that is none, a key below INVALID that says why and shows nothing of it."""
    if text and len(text) <= PART and "/." not in text and (found := _PLAIN.fullmatch(text)):
        return f"{found[1]}/{found[2]}"
    return _key_of_any(text)


def _key_of_any(text: str | None) -> str:
    """As `key_of_url`, for every text."""
    try:
        url = plain_url(text or "")
    except InvalidUrl as e:
        if e.kind == "empty":
            return f"{INVALID}{e.kind}"
        digest = hashlib.sha256((text or "").encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return f"{INVALID}{e.kind}/{digest}"
    scheme, _, rest = url.partition("://")
    host, _, target = rest.partition("/")
    return "/".join((scheme, host, *map(_escaped, target.split("/"))))


def _escaped(part: str) -> str:
    if part in ("", ".", ".."):
        return "%-" + part
    if len(part) <= PART:
        return part
    return "/%+".join(part[at : at + PART] for at in range(0, len(part), PART))


def url_of_key(key: str) -> str:
    """The address of a key.

    Raises:
        InvalidUrl: for a key below INVALID.
        ValueError: for any other key that no address has.
    """
    if key.startswith(INVALID):
        kind = key.removeprefix(INVALID).partition("/")[0]
        if kind in _REASONS:
            raise InvalidUrl(kind)
    scheme, _, rest = key.partition("/")
    host, _, path = rest.replace("/%+", "").partition("/")
    parts = [part[2:] if part.startswith("%-") else part for part in path.split("/")]
    url = f"{scheme}://{host}/{'/'.join(parts)}"
    if key_of_url(url) != key:
        raise ValueError("no address has this key")
    return url
