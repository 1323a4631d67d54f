"""Names of models: what a model is called wherever its fingerprint is shown.

A name is a note in a model's configuration: `base` or `base-psnr` for those that are shipped, otherwise what training
was told, or the last part of the place it wrote to. It identifies nothing, as anyone may choose any name, so it stands
beside the fingerprint and never for it.
"""

import json
import re
from typing import Any

from model.core.model_files import CONFIG, MOST_BYTES, shipped_model
from pipeline.storage.base import Outage, StorageError, Store

NAME = "name"
"""The note that holds it."""
PATTERN = r"[\w.+][\w.+ -]{0,38}[\w.+]|[\w.+]"
"""A name: 1 to 40 letters, digits and `.+_-`, with blanks inside."""


def named(name: str, fingerprint: str) -> str:
    """A model as text: `photos 80c93cac60fbff9c`, or the fingerprint alone."""
    return f"{name} {fingerprint}" if name else fingerprint


def name_from(description: Any) -> str:
    """The name in a model's configuration, which may come from anyone; empty if it has none."""
    if not isinstance(description, dict):
        return ""
    notes = description.get("notes")
    name = notes.get(NAME) if isinstance(notes, dict) else None
    if isinstance(name, str) and re.fullmatch(PATTERN, name):
        return name
    return shipped_model(str(description.get("fingerprint"))) or ""


def name_in(store: Store) -> str:
    """The name of the model in a store; empty if it has none, or there is no model that can be read."""
    return name_from(description_in(store))


def description_in(store: Store) -> Any:
    """The configuration of the model in a store, unchecked; None if there is none that can be read."""
    try:
        return json.loads(store.get(CONFIG, MOST_BYTES[CONFIG]))
    except Outage:
        raise
    except (StorageError, ValueError, RecursionError):
        return None


def name_for(place: str) -> str:
    """A name for a model that is made at a place: the last part of its path, as far as it makes a name."""
    last = place.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.+ -]+", "-", last).strip(" -")[:40].strip(" -")
