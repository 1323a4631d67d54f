"""Print the software bill of materials, CycloneDX 1.6 as JSON: `make sbom`.

The components are the packages of requirements-hashed.txt, with the hashes of all their files, and with the licences
and dependencies that the installed ones state. Equal locks give equal bytes: there is no time and no random number.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def locked() -> dict[str, tuple[str, list[str]]]:
    """Name to version and SHA-256 sums of each package of the lock."""
    text = (ROOT / "requirements-hashed.txt").read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, version = line.split()[0].split("==")
            found[name] = version, re.findall(r"sha256:(\w+)", line)
    return found


def licences(name: str) -> list[dict[str, Any]]:
    """The licences that an installed package states: an SPDX expression, or its classifiers' names."""
    try:
        facts = distribution(name).metadata
    except PackageNotFoundError:
        return []
    if expression := facts.get("License-Expression"):
        return [{"expression": expression}]
    prefix = "License :: "
    classifiers = [c for c in facts.get_all("Classifier") or () if c.startswith(prefix)]
    return [{"license": {"name": c.split(" :: ")[-1]}} for c in sorted(set(classifiers))]


def needs(name: str, known: set[str]) -> Iterator[str]:
    """The locked packages that an installed one requires here, without extras."""
    try:
        required = distribution(name).requires or []
    except PackageNotFoundError:
        return
    for requirement in map(Requirement, required):
        other = canonicalize_name(requirement.name)
        if other in known and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            yield other


def document() -> dict[str, Any]:
    """The bill."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    packages = locked()
    reference = {name: f"pkg:pypi/{name}@{version}" for name, (version, _) in packages.items()}
    own = f"pkg:pypi/maepress@{project['version']}"
    components = [
        {
            "type": "library",
            "bom-ref": reference[name],
            "name": name,
            "version": version,
            "purl": reference[name],
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in hashes],
            **({"licenses": found} if (found := licences(name)) else {}),
        }
        for name, (version, hashes) in packages.items()
    ]
    groups = [project["dependencies"], *(project["optional-dependencies"][e] for e in ("archive", "train", "viewer"))]
    direct = {canonicalize_name(Requirement(text).name) for group in groups for text in group} & packages.keys()
    edges = {own: direct} | {reference[name]: set(needs(name, set(packages))) for name in packages}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": "maepress",
                "version": project["version"],
                "purl": own,
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": ref, "dependsOn": sorted(reference[name] for name in names)} for ref, names in sorted(edges.items())
        ],
    }


if __name__ == "__main__":
    print(json.dumps(document(), indent=1))
