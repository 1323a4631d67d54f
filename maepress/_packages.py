"""Makes sure that `model`, `pipeline` and `jobs` are maepress's own packages.

The names are common words: a `model.py` in somebody's working folder, or another distribution's `model` package, may
come first on Python's path. So the packages beside this one are imported by their place, once, when `maepress` is
imported; afterwards their names lead to them in this process. `pipeline.execution.ray_init` does the same in Ray's
workers, `pipeline.images.sandbox.sandbox` in its child.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("model", "pipeline", "jobs")
ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds maepress's packages: site-packages, or a clone."""


def bind() -> None:
    """Import maepress's own packages, which load nothing, unless their names are taken already."""
    sys.path.insert(0, str(ROOT))
    try:
        for name in PACKAGES:
            importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT))


def intruder() -> str | None:
    """One line about a module that took one of our packages' names before maepress was imported, or None."""
    for name in PACKAGES:
        place = getattr(sys.modules[name], "__file__", None)
        if place is None or Path(place).resolve() != ROOT / name / "__init__.py":
            return (
                f"{place or f'a module {name!r}'} has the name of maepress's own package {name!r} and was imported "
                "first: rename it, or import maepress in a process of its own"
            )
    return None


def hidden(path: Sequence[str]) -> str | None:
    """One line about a module on Python's path that `bind` keeps from being imported by its name, or None."""
    for name in PACKAGES:
        found = PathFinder.find_spec(name, list(path))
        place = found and (found.origin or next(iter(found.submodule_search_locations or ()), None))
        if place and Path(place).resolve() not in (ROOT / name, ROOT / name / "__init__.py"):
            return (
                f"`import {name}` now means maepress's own package, not {place}: rename that, if this process needs it"
            )
    return None
