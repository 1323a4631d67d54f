"""Which process of pytest-xdist runs which tests: whole modules, and those that need Ray in the same process.

So there is one Ray, and each module makes its fixtures once. The tests with Ray begin first, because they take the
longest.
"""

from functools import cache
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Distributes modules. `loadgroup` with a marker cannot: it does not work with pytest 9.2."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return "ray" if needs_ray(ROOT / module) else module


@cache
def needs_ray(module: Path) -> bool:
    """Whether a test of the module uses the fixture of a local Ray."""
    return "local_ray" in module.read_text()
