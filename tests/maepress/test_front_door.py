"""The front door is frozen: a name or a signature changes only together with the expected file.

After an intended change: `python -m tests.maepress.test_front_door` writes the file anew.
"""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import maepress

EXPECTED = Path(__file__).parent / "expected" / "front_door.txt"
OURS = ("model.", "pipeline.", "jobs.")
HEAVY = {"torch", "ray", "numpy", "pyarrow", "pydantic", "PIL"}


def without_modules(text: str) -> str:
    """A signature's text without the modules that its types come from, which may move."""
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)\b(?!')", r"\1", text)


def signature(callable_: Any) -> str:
    # Defaults that are functions print with their address, types inside of them with their module.
    return without_modules(re.sub(r"= <.*?>+(?=[,)])", "= ...", str(inspect.signature(callable_))))


def methods(kind: type) -> Iterator[str]:
    """The public methods and properties that our own classes define."""
    seen: dict[str, object] = {}
    for base in reversed([b for b in kind.__mro__ if b.__module__.startswith(OURS)]):
        seen |= {name: thing for name, thing in vars(base).items() if not name.startswith("_")}
    for name, thing in sorted(seen.items()):
        if isinstance(thing, property):
            assert thing.fget is not None
            result = inspect.signature(thing.fget).return_annotation
            yield f"  {name}: {without_modules(inspect.formatannotation(result))}"
        elif isinstance(thing, classmethod | staticmethod) or inspect.isfunction(thing):
            yield f"  {name}{signature(getattr(kind, name))}"


def described(name: str) -> str:
    thing = getattr(maepress, name)
    if not isinstance(thing, type):
        return f"{name}{signature(thing)}\n"
    if issubclass(thing, BaseModel):
        fields = [
            f"  {field}: {without_modules(inspect.formatannotation(info.annotation))}"
            + ("" if info.is_required() else f" = {info.default!r}")
            for field, info in thing.model_fields.items()
        ]
        return "\n".join([f"{name}(...)", *fields, ""])
    if issubclass(thing, Exception):
        return f"{name}({thing.__mro__[1].__name__})\n"
    return "\n".join([f"{name}{signature(thing)}", *methods(thing), ""])


def front_door() -> str:
    return "\n".join(described(name) for name in sorted(maepress.__all__))


def test_every_name_and_signature_is_an_expected_one() -> None:
    assert front_door() == EXPECTED.read_text()


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(maepress.__file__).read_text())
    (typing_only,) = (node for node in tree.body if isinstance(node, ast.If))
    seen: dict[str | None, str | None] = {}
    for node in typing_only.body:
        assert isinstance(node, ast.ImportFrom)
        seen |= {alias.asname: node.module for alias in node.names}
    assert seen == maepress._MODULE_OF


@pytest.mark.parametrize("name", maepress.__all__)
def test_every_name_says_what_it_is(name: str) -> None:
    thing = getattr(maepress, name)
    assert thing.__name__ == name
    assert thing.__module__.startswith(OURS)
    assert inspect.getdoc(thing)


def test_importing_the_front_door_imports_nothing_else() -> None:
    script = (
        "import sys, maepress; "
        f"print(sorted(m for m in sys.modules if m.split('.')[0] in {HEAVY!r} or m.startswith({OURS!r})))"
    )
    # What limits the threads before torch is loaded; it imports nothing of weight.
    assert printed(script) == "['model.core', 'model.core.cores']"


def test_a_settings_class_comes_without_torch_or_ray() -> None:
    script = (
        "import sys, maepress; maepress.DecodeSettings(archive='a', dest='b'); maepress.MaepressError; "
        "print(sorted({'torch', 'ray'} & sys.modules.keys()))"
    )
    assert printed(script) == "[]"


def test_all_names_are_listed_and_others_are_refused() -> None:
    assert {*maepress.__all__, "__version__"} <= set(dir(maepress))
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", maepress.__version__)
    with pytest.raises(AttributeError, match="no attribute 'press'"):
        maepress.press  # noqa: B018


def test_pillow_knows_the_format_once_the_plugin_is_imported() -> None:
    script = (
        "from PIL import Image; import maepress.pillow_plugin as mae; "
        "print(Image.registered_extensions()['.mae'], callable(mae.use))"
    )
    assert printed(script) == "MAE True"


def test_the_module_runs_the_command_line() -> None:
    from jobs.cli import overview

    done = subprocess.run([sys.executable, "-m", "maepress", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == overview()


def printed(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    EXPECTED.write_text(front_door())
