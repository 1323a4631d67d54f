"""The repository itself: dependencies, lock files, builds and entry points."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HASHED = ("requirements-hashed.txt", "requirements-cuda.txt", "requirements-cpu.txt")
FLOORS = ("model", "pipeline", "jobs", "maepress")
LARGEST_PACKAGE = 18
"""Modules of a package beside its parts."""


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def locked(file: str) -> dict[str, str]:
    lines = [line for line in (ROOT / file).read_text().splitlines() if line and not line.startswith(("#", "-r"))]
    return dict(line.split("==") for line in lines)


def imports(folder: Path) -> set[str]:
    found = set()
    paths = list(folder.rglob("*.py"))
    assert paths, f"no module in {folder}"
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - set(FLOORS)


def undeclared(folder: str, declared: set[str]) -> set[str]:
    """Modules that a folder imports and that none of the declared distributions provides."""
    provided_by = packages_distributions()
    own = set() if folder in FLOORS else {"tests", "bench"}  # an installed floor has neither
    modules = imports(ROOT / folder) - own
    owners = {module: {canonicalize_name(d) for d in provided_by.get(module, [])} for module in modules}
    return {module for module in owners if not owners[module] & declared}


@pytest.mark.parametrize("floor", FLOORS)
def test_every_import_of_a_floor_is_a_declared_dependency(floor: str) -> None:
    # What a command lacks at run time is another test's: tests/jobs/test_installed.py.
    needed = {
        "model": ("train",),
        "pipeline": ("archive", "train", "azure", "iceberg", "heif", "video", "wandb"),
        "jobs": ("archive", "viewer", "demo"),
    }
    optional = {name for extra in needed.get(floor, ()) for name in names(PROJECT["optional-dependencies"][extra])}
    assert undeclared(floor, names(PROJECT["dependencies"]) | optional) == set()


@pytest.mark.parametrize("folder", ["tests", "bench", "docs", ".ci"])
def test_every_import_of_tests_and_tools_is_declared_too(folder: str) -> None:
    extras = [r for group in PROJECT["optional-dependencies"].values() for r in group]
    assert undeclared(folder, names([*PROJECT["dependencies"], *extras])) == set()


def test_only_the_demo_imports_what_only_the_demo_needs() -> None:
    needed = re.compile(r"^\s*(from|import) (skimage|sklearn)\b", re.M)
    paths = {path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")}
    importing = {path.relative_to(ROOT).parts[:2] for path in paths if needed.search(path.read_text())}
    assert importing == {("jobs", "demo")}


def test_every_declared_dependency_is_locked_to_a_version_that_it_allows() -> None:
    runtime, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    everything = runtime | dev
    groups = [*PROJECT["dependencies"], *(r for g in PROJECT["optional-dependencies"].values() for r in g)]
    for requirement in map(Requirement, groups):
        if requirement.name != "maepress":
            assert requirement.specifier.contains(everything[canonicalize_name(requirement.name)], prereleases=True), (
                requirement
            )
    assert names(PROJECT["dependencies"]) <= runtime.keys()
    for extra in ("archive", "train", "viewer"):
        assert names(PROJECT["optional-dependencies"][extra]) - {"maepress"} <= runtime.keys()
    assert not runtime.keys() & dev.keys()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock is written with the oldest Python, 3.11")
def test_the_lock_is_what_the_lock_command_writes(tmp_path: Path) -> None:
    copy = tmp_path / ".ci" / "lock.py"
    copy.parent.mkdir()
    copy.write_text((ROOT / ".ci" / "lock.py").read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    subprocess.run([sys.executable, str(copy)], check=True)
    for file in ("requirements.txt", "requirements-dev.txt"):
        assert (tmp_path / file).read_text() == (ROOT / file).read_text(), f"{file} is stale: make lock"


def test_no_file_for_the_installer_names_a_host_or_a_local_path() -> None:
    for file in ("requirements.txt", "requirements-dev.txt", "pyproject.toml", "Makefile", ".ci/run", *HASHED):
        assert not re.search(
            r"https?://|--index-url|--find-links|file://|/(root|home|work|opt)/", (ROOT / file).read_text()
        ), file


def test_every_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named
    assert named <= targets


def hashed(file: str) -> dict[str, list[str]]:
    """Pinned requirements of a lock with hashes, and the hashes of each."""
    text = (ROOT / file).read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {words[0]: words[1:] for words in lines}


def test_the_lock_with_hashes_has_the_packages_of_the_lock_and_every_file_of_their_releases() -> None:
    found, beside = hashed("requirements-hashed.txt"), hashed("requirements-cuda.txt")
    assert set(found) == {f"{name}=={version}" for name, version in locked("requirements.txt").items()}, "make lock"
    assert not {name.split("==")[0] for name in found} & {name.split("==")[0] for name in beside}
    for requirement, hashes in (found | beside).items():
        assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), requirement
    torch = next(name for name in found if name.startswith("torch=="))
    assert re.fullmatch(r"torch==[0-9.]+", torch)  # no local label: any build of the version
    assert [(name, len(hashes)) for name, hashes in hashed("requirements-cpu.txt").items()] == [(torch, 1)]
    assert all(
        len(hashes) > 10 for name, hashes in found.items() if name.split("==")[0] in ("torch", "numpy", "pillow")
    )


def test_the_bill_of_materials_has_every_locked_package_and_no_loose_end() -> None:
    command = [sys.executable, str(ROOT / ".ci" / "sbom.py")]
    bill = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert {f"{c['name']}=={c['version']}" for c in bill["components"]} == set(hashed("requirements-hashed.txt"))
    known = {c["bom-ref"] for c in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    edges = {edge["ref"]: edge["dependsOn"] for edge in bill["dependencies"]}
    assert edges.keys() == known and all(set(to) <= known for to in edges.values())
    assert "pkg:pypi/ray@" + locked("requirements.txt")["ray"] in edges[bill["metadata"]["component"]["bom-ref"]]
    assert sum("licenses" in c for c in bill["components"]) > 0.8 * len(bill["components"])


def test_the_page_for_a_package_index_has_only_what_an_index_shows() -> None:
    assert PROJECT["readme"] == "PACKAGE.md"
    text = (ROOT / "PACKAGE.md").read_text()
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [t for t in inline if t.type in ("image", "html_inline")] and not [
        t for t in tokens if t.type == "html_block"
    ]
    links = [str(t.attrs["href"]) for t in inline if t.type == "link_open"]
    assert all(link.startswith("https://") for link in links)
    assert {t.info for t in tokens if t.type == "fence"} <= {"python", "sh"}
    assert all(f"maepress[{extra}]" in text or f"[{extra}]" in text for extra in ("archive", "train", "viewer", "all"))


def test_the_image_is_built_from_the_locks_with_hashes_and_copies_what_exists() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ")
    copied = [word for line in re.findall(r"^COPY --chown=\S+ (.+)$", text, re.M) for word in line.split()[:-1]]
    assert {"requirements-hashed.txt", "requirements-cuda.txt", "pyproject.toml", "PACKAGE.md"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"pip install .*--require-hashes -r requirements-hashed.txt -r requirements-cuda.txt", text)
    assert f"rayproject/ray:{locked('requirements.txt')['ray']}-" in text
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    sources = [*(file for files in data.values() for file in files), *PROJECT["license-files"]]
    assert all(any(file == name or file.startswith(f"{name}/") for name in copied) for file in sources)


def test_a_package_can_be_taken_in_at_a_glance() -> None:
    sizes = {
        folder.parent.relative_to(ROOT).as_posix(): len(list(folder.parent.glob("*.py"))) - 1
        for floor in FLOORS
        for folder in (ROOT / floor).rglob("__init__.py")
    }
    assert len(sizes) > 40
    del sizes["jobs/commands"]  # a module per command
    assert {folder: size for folder, size in sizes.items() if size > LARGEST_PACKAGE} == {}
