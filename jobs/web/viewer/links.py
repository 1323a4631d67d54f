"""Addresses of images: a key may be any UTF-8 text, but a URL's path may not.

The usual form is `/image/KEY`. Browsers resolve "." and ".." in a path before they send it, and some proxies join
slashes; so keys with such parts are given as a parameter, `/image?key=...`. The viewer accepts both forms for all keys.
"""

from urllib.parse import quote, urlencode


def link(page: str, key: str, **parameters: object) -> str:
    """The address of an image below "image", "original" or "view"; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    if {"", ".", ".."} & set(key.split("/")):
        return f"/{page}?{urlencode({'key': key} | given, quote_via=quote)}"
    path = f"/{page}/{quote(key, safe='/')}"
    return f"{path}?{urlencode(given)}" if given else path


def crumbs(prefix: str) -> list[tuple[str, str]]:
    """The folders of a prefix, outermost first, each with name and prefix."""
    parts = prefix.split("/")
    found = [(part, "/".join(parts[: i + 1]) + "/") for i, part in enumerate(parts[:-1])]
    return found + ([(parts[-1], prefix)] if parts[-1] else [])
