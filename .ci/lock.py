"""Write the lock files from the installed packages: `make lock`, after `pip install` of what should change.

Runtime packages (everything that the codec and the extras `archive`, `train` and `viewer` reach) go to
requirements.txt, what the other extras, the tests and the linters need beyond them to requirements-dev.txt. Local
version labels are dropped, so that `torch==2.13.0` means the build for the machine at hand.
"""

import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("archive", "train", "viewer")
"""Extras whose packages the runtime's lock has."""
HEADER = "# Exact versions of {what}. Written by `make lock`; do not edit.\n"


def closure(declared: Iterable[str]) -> dict[str, str]:
    """Name to version of every installed package that the declared requirements reach."""
    found: dict[str, str] = {}
    visited: set[tuple[str, str]] = set()
    queue = [Requirement(text) for text in declared]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        if name == "maepress":
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            raise SystemExit(f"lock: {name} is declared but not installed: pip install '{requirement}'") from None
        version = installed.version.split("+")[0]
        if not requirement.specifier.contains(version, prereleases=True):
            raise SystemExit(f"lock: {name} {version} is installed, {requirement} is declared")
        found[name] = version
        for extra in {"", *requirement.extras}:
            if (name, extra) in visited:
                continue
            visited.add((name, extra))
            for text in installed.requires or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    queue.append(needed)
    return found


def lines(packages: dict[str, str]) -> str:
    """One `name==version` a line, sorted."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()))


def main() -> None:
    """Write both files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    runtime = closure([*project["dependencies"], *(r for name in RUNTIME for r in extras[name])])
    extra = closure([r for group in extras.values() for r in group])
    (ROOT / "requirements.txt").write_text(
        HEADER.format(what="what maepress needs to run, as pip installs them") + lines(runtime)
    )
    beyond = {name: version for name, version in extra.items() if name not in runtime}
    header = HEADER.format(what="what other extras, the tests and the linters need beyond that")
    (ROOT / "requirements-dev.txt").write_text(header + "-r requirements.txt\n" + lines(beyond))


if __name__ == "__main__":
    main()
