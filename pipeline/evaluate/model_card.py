"""The model card: the README in a model's folder, or else its configuration as a table."""

import json
from pathlib import Path
from typing import Any

from pipeline.archive.model_store import CONFIG

README = "README.md"


def model_card(folder: Path) -> str:
    """Model card in Markdown.

    Args:
        folder: local folder of a model that loads.
    """
    readme = folder / README
    if readme.is_file():
        return readme.read_text(encoding="utf-8", errors="replace")
    description: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    rows = {"fingerprint": description["fingerprint"]} | description["config"]
    rows |= {f"notes: {name}": value for name, value in description.get("notes", {}).items()}
    lines = [f"| {name} | {json.dumps(value)} |" for name, value in rows.items()]
    return "\n".join([f"# Model {description['fingerprint']}", "", "| | |", "|---|---|", *lines, ""])
