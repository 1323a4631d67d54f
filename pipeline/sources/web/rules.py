"""What may be fetched from the web, and what an answer's headers say: public addresses, opt-outs, versions."""

import hashlib
import ipaddress
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pipeline.storage.modified import of_datetime

OPT_OUTS = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
"""Words of `X-Robots-Tag` by which an image is not taken; img2dataset heeds the same."""
AGENT = "maepress"
NOT_PUBLIC = "its server's address is not public (a source allows it by &private)"
_WITH_VALUES = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
_LONGEST_ETAG = 200
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotPublic(OSError):
    """A host's address lies in a private, local or reserved network."""

    def __init__(self) -> None:
        super().__init__(NOT_PUBLIC)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also the one inside an IPv6 address."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved)


def public_socket(address: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
    """A socket for an address of `getaddrinfo`: the one place where a connection begins, after every look-up of a name.

    Raises:
        NotPublic: for an address that is not public.
    """
    family, kind, protocol, _, where = address
    if not is_public(str(where[0])):
        raise NotPublic
    return socket.socket(family, kind, protocol)


def opt_out(headers: Iterable[str]) -> str | None:
    """The word in `X-Robots-Tag` headers that asks us not to take an image; None where there is none.

    Words behind another agent's name, as in `otherbot: noai`, are not meant for us.
    """
    for header in headers:
        agent = ""
        for part in header.lower().split(","):
            name, colon, rest = part.strip().partition(":")
            if colon and name.strip() not in _WITH_VALUES:
                agent, part = name.strip(), rest
            word = part.strip()
            if word in OPT_OUTS and agent in ("", AGENT):
                return word
    return None


def etag_of(headers: Mapping[str, str]) -> str:
    """What stands for the version of an answer: its ETag, else Last-Modified, else its length."""
    own = headers.get("ETag", "").strip().removeprefix("W/").strip('"')
    if not own and headers.get("Last-Modified"):
        own = f"modified {headers['Last-Modified'].strip()}"
    if not own:
        size = size_of(headers)
        own = "no version" if size is None else f"size {size}"
    if len(own) <= _LONGEST_ETAG and own.isascii() and own.isprintable():
        return own
    return "sha256 " + hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def size_of(headers: Mapping[str, str]) -> int | None:
    """The length of a body in bytes, None where the answer does not tell, or names none that could be."""
    text = headers.get("Content-Length", "")
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        return None
    return int(text) if headers.get("Content-Encoding", "identity") == "identity" else None


def modified_ns_of(headers: Mapping[str, str]) -> int | None:
    """The time in Last-Modified in nanoseconds since 1970, None where there is none."""
    try:
        return of_datetime(parsedate_to_datetime(headers.get("Last-Modified", "")))
    except (TypeError, ValueError, IndexError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a server asks to wait, None where it does not.

    Args:
        headers: of its answer.
        now: the time, for a date in the header.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return max(0.0, (of_datetime(when) - of_datetime(now or datetime.now(UTC))) / 1e9)
