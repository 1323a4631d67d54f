"""The ways in which people write one folder."""

import os
from pathlib import Path


def spellings(folder: Path) -> list[str]:
    """Ways to write a folder; makes a symbolic link to it and one to the folder above."""
    link, above = folder.parent / f"link-to-{folder.name}", folder.parent / "link-to-above"
    if not link.exists():
        link.symlink_to(folder)
    if not above.exists():
        above.symlink_to(folder.parent)
    near = os.path.relpath(folder)
    return [
        str(folder),
        f"{folder}/",
        f"{folder}//",
        f"file://{folder}",
        f"FILE://{folder}/",
        f"file://localhost{folder}",
        near,
        f"./{near}",
        f"./{near}/",
        f"{folder}/.",
        f"{folder}/../{folder.name}",
        f"{folder.parent}//{folder.name}",
        str(link),
        f"{link}/",
        str(above / folder.name),
        f"{folder}#frames=30",
    ]
