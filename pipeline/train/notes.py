"""Notes of a training in its model: the model's name, what it minimised, and which files it has learned from."""

from collections.abc import Sequence
from typing import Any

from model.core.model_files import DISTORTION
from pipeline.archive.model_name import NAME, description_in, name_for
from pipeline.archive.model_store import local_model
from pipeline.dataset.learned_files import LearnedFiles
from pipeline.storage.base import Entry
from pipeline.storage.open import open_store
from pipeline.train.settings import TrainSettings

LEARNED_FROM = "learned_from"
"""The note that holds a `LearnedFiles`."""


def notes_of(settings: TrainSettings, entries: Sequence[Entry], *, init: str | None) -> dict[str, object]:
    """The notes of a training, before its first validation.

    Args:
        settings: settings of the run, with its distortion stated.
        entries: the files of the run, those that are held out for validation too: they chose the model.
        init: the model that it starts from, whose files count as well; None for a new one.
    """
    before = LearnedFiles() if init is None else learned_by(description_in(open_store(str(local_model(init)))))
    return {
        NAME: settings.name or name_for(settings.out),
        "images": settings.images,
        DISTORTION: settings.distortion,
        LEARNED_FROM: before.with_files(entries).to_note(),
    }


def learned_by(description: Any) -> LearnedFiles:
    """The files that the model with this configuration has learned from, as far as it says."""
    notes = description.get("notes") if isinstance(description, dict) else None
    return LearnedFiles.from_note(notes.get(LEARNED_FROM) if isinstance(notes, dict) else None)
