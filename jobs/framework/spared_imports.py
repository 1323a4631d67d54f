"""Imports that libraries ask for and no command needs: a small job would wait for them longer than for its work.

| who asks | for | why | here |
|---|---|---|---|
| pyarrow, when it first converts Python's values | pandas | they might be one of its frames | absent |
| numba, with its first kernel | scipy.linalg | kernels may call BLAS; none of ours does | absent |
| torch, when it is imported | torch._meta_registrations | to compile, to export | loaded when used |

Only the process of the command line spares them, and only those who are listed get another answer than usual: Ray
imports pandas, and BD-rates import SciPy.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import Any

ABSENT = {
    "pandas": ("pyarrow", "deltalake", "maepress", "model", "pipeline", "jobs"),
    "scipy.linalg": ("numba",),
}
"""Modules, and the packages for which they are absent. pyarrow's compiled code asks in the name of its callers."""
WHEN_USED = {"torch._meta_registrations": ("torch",)}
"""Modules that are loaded when somebody uses what they hold, and the packages for which they are."""
BEFORE = {"torch._dynamo": "torch._meta_registrations"}
"""Modules that need such a one first: every optimiser imports this one, whose imports go in a circle otherwise."""


class _WhenUsed(ModuleType):
    """A module that is executed when a name is looked up in it that it does not have yet.

    Not `importlib.util.LazyLoader`: its modules are loaded by a look at `__file__`, and `inspect` looks at all.
    """

    _loading = RLock()

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            self.load()
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def load(self) -> None:
        """Execute the module, if that was not done yet."""
        spec = vars(self).get("__spec__")
        with self._loading:
            if spec is not None and isinstance(spec.loader, _LoadsWhenUsed):
                spec.loader = self.__loader__ = spec.loader.loader
                spec.loader.exec_module(self)


class _LoadsWhenUsed(Loader):
    """Makes such a module; `loader` executes it later."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty module."""
        return _WhenUsed(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""


class _Finder(MetaPathFinder):
    """Comes before Python's own finders.

    Attributes:
        spares: whether imports are spared now; what was spared before may still have to be loaded.
    """

    spares = True

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What Python asks for a module that is not loaded yet; None leaves it to the other finders."""
        waiting = sys.modules.get(BEFORE.get(name, ""))
        if isinstance(waiting, _WhenUsed):
            waiting.load()
        if not self.spares:
            return None
        if name in ABSENT and _importer() in ABSENT[name]:
            raise ModuleNotFoundError(f"{name} is spared (jobs/framework/spared_imports.py)", name=name)
        if name not in WHEN_USED or _importer() not in WHEN_USED[name]:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoadsWhenUsed(spec.loader)
        return spec


_finder = _Finder()


def spare() -> None:
    """From now on, spare this process these imports."""
    _finder.spares = True
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def spare_no_more() -> None:
    """Undo `spare`. pyarrow, which remembers that pandas was absent, looks again."""
    if _finder in sys.meta_path and _finder.spares:
        _finder.spares = False
        import pyarrow as pa

        pa.array([0]).to_pandas()


def _importer() -> str:
    """The top-level package of the code that is importing: of the first frame that is not the import's own."""
    frame = sys._getframe(2)
    while frame.f_back is not None and _package(frame.f_globals) in ("importlib", "_frozen_importlib"):
        frame = frame.f_back
    return _package(frame.f_globals)


def _package(module: dict[str, Any]) -> str:
    return str(module.get("__name__", "")).partition(".")[0]
