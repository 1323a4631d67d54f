"""Addresses of images: keys are anything that UTF-8 can spell, a URL's path is not.

`/image/KEY` is the plain form. A browser takes "." and ".." for steps through folders before it asks, and some proxies
join slashes: keys with such parts stand in a parameter instead, `/image?key=...`. Both are always understood.
"""

from urllib.parse import quote, urlencode


def link(page: str, key: str, **parameters: object) -> str:
    """The address of an image on "image", "original" or "view"; parameters that are None are left out."""
    given = {name: value for name, value in parameters.items() if value is not None}
    if {"", ".", ".."} & set(key.split("/")):
        return f"/{page}?{urlencode({'key': key} | given, quote_via=quote)}"
    path = f"/{page}/{quote(key, safe='/')}"
    return f"{path}?{urlencode(given)}" if given else path


def crumbs(prefix: str) -> list[tuple[str, str]]:
    """A prefix's folders: name and prefix of each, outermost first."""
    parts = prefix.split("/")
    found = [(part, "/".join(parts[: i + 1]) + "/") for i, part in enumerate(parts[:-1])]
    return found + ([(parts[-1], prefix)] if parts[-1] else [])
