"""Labels of images, derived from their keys."""

import re
from collections.abc import Callable, Mapping

from model.core.errors import MaepressError
from pipeline.dataset.split import is_held_out
from pipeline.probe.settings import FOLDER, ProbeSettings


def labeller(rule: str) -> Callable[[str], str | None]:
    """The function that derives a label from a key by a rule of `ProbeSettings`; it returns None for no label."""
    if rule == FOLDER:
        return lambda key: key.rsplit("/", 2)[-2] if "/" in key else None
    pattern = re.compile(rule)

    def label(key: str) -> str | None:
        found = pattern.search(key)
        return found[1] if found else None

    return label


def class_names(labels: Mapping[str, str], settings: ProbeSettings) -> list[str]:
    """The classes, sorted.

    Args:
        labels: key to label.
        settings: the rule and the share held out.

    Raises:
        MaepressError: if nothing can be learned from these labels.
    """
    names = sorted(set(labels.values()))
    held_out = {is_held_out(key, settings.held_out) for key in labels}
    rule = f"--label-from-key {settings.label_from_key}"
    if len(names) < 2:
        found = f"only the label {names[0]!r}" if names else "no label"
        raise MaepressError(f"{rule} finds {found} in the keys of {settings.archive}: give another rule")
    if len(names) * 2 > len(labels):
        raise MaepressError(f"{rule} finds {len(names)} labels for {len(labels)} images: give one that groups them")
    if len(held_out) < 2:
        purpose = "learn from" if True in held_out else "test on"
        raise MaepressError(f"of {len(labels)} images none is left to {purpose}: change --held-out")
    return names
