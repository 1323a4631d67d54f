"""Evaluate: a model beside JPEG, WebP, AVIF and JPEG XL on given images.

    listing --draw--> at most N objects --measure, in processes--> a Subject each --sum up--> Evaluation

Memory holds points, not pixels: a worker has one image at a time, and this process the few that are shown.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from model.codec import Codec
from model.core.config import QUALITIES
from pipeline.archive.model_store import local_model
from pipeline.dataset.reservoir import reservoir_sample
from pipeline.evaluate.baseline_codecs import RIVALS
from pipeline.evaluate.curves import deltas, mean_curve
from pipeline.evaluate.examples import View, choose, show
from pipeline.evaluate.measurement import OURS, Measurer, Plan, Skipped, Subject
from pipeline.evaluate.measuring_processes import measured_in_processes
from pipeline.evaluate.model_card import model_card
from pipeline.evaluate.published import published_for
from pipeline.evaluate.result import Evaluation, Floor
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.speed import Speed, speeds
from pipeline.monitoring.formatting import duration
from pipeline.storage.base import Entry, StorageError
from pipeline.storage.open import open_source

FLOORS = (36.0, 38.0, 40.0, 42.0)
"""dB at which files are compared by their bytes."""
_ARCHIVE_QUALITY = 40
_SHOWN = 3
"""Best images, and worst."""
_TIMED_PIXELS = 2_000_000
_SAID_SECONDS = 10.0
Say = Callable[[str], None]


def evaluate(settings: EvaluateSettings, *, say: Say = lambda text: None) -> Evaluation:
    """Measure; nothing is written.

    Args:
        settings: which images, which model, how thoroughly.
        say: is told now and then how far it is.

    Raises:
        MaepressError: in one line, for images or a model that cannot be read.
    """
    began = time.monotonic()
    folder = local_model(settings.model)
    codec = Codec.load(folder)
    source = open_source(settings.images)
    objects = (entry for entry in source.entries() if entry.size)
    drawn, listed = reservoir_sample(objects, settings.max_images, settings.seed)
    qualities = tuple(sorted({round(q) for q in np.linspace(0, QUALITIES - 1, settings.qualities)}))
    plan = Plan(source, qualities, FLOORS, int(settings.max_megapixels * 1e6))
    say(f"{listed:,} objects; measuring {len(drawn):,} of them at {len(qualities)} qualities")
    with _one_thread(), Measurer(codec, plan) as measurer:
        subjects, skipped = _measure_all(drawn, plan, str(folder), measurer, settings.workers, say)
        if not subjects:
            reason = skipped[0].reason if skipped else "it is empty"
            raise StorageError(f"{settings.images} has no image that can be measured ({reason})")
        by_key = {entry.key: entry for entry in drawn}
        shown = min(qualities, key=lambda quality: abs(quality - _ARCHIVE_QUALITY))
        say("timing, and pressing what is shown")
        views = list(_views(subjects, by_key, measurer, shown))
        timed = _timed(subjects, by_key, measurer, codec, shown)
    points = {name: [subject.points[name] for subject in subjects] for name in (OURS, *(r.name for r in RIVALS))}
    published = published_for(subject.digest for subject in subjects)
    others = published.curves if published else {}
    return Evaluation(
        images=source.url,
        model=settings.model,
        fingerprint=codec.fingerprint,
        card=model_card(folder),
        listed=listed,
        seed=settings.seed,
        skipped=tuple(skipped),
        subjects=tuple(subjects),
        curves={name: mean_curve(images) for name, images in points.items()},
        published=published,
        deltas=deltas(OURS, points, others),
        floors=_floors(subjects),
        speeds=tuple(timed),
        shown_quality=shown,
        views=tuple(views),
        versions={rival.name: rival.version for rival in RIVALS},
        seconds=time.monotonic() - began,
    )


def _measure_all(
    entries: Sequence[Entry], plan: Plan, folder: str, measurer: Measurer, workers: int | None, say: Say
) -> tuple[list[Subject], list[Skipped]]:
    """Measure every image, in this process or in several; results are in order of the keys."""
    count = min(len(entries), workers or len(os.sched_getaffinity(0)))
    results: Iterator[tuple[str, Subject | Skipped]]
    if count > 1:
        results = measured_in_processes(entries, plan, folder, count)
    else:
        results = ((entry.key, measurer.measure(entry)) for entry in entries)
    found: dict[str, Subject | Skipped] = {}
    began = said = time.monotonic()
    for key, result in results:
        found[key] = result
        if (now := time.monotonic()) - said > _SAID_SECONDS:
            said = now
            left = (now - began) / len(found) * (len(entries) - len(found))
            say(f"{len(found):,}/{len(entries):,} images, about {duration(left)} left")
    ordered = [found[entry.key] for entry in entries]
    return [x for x in ordered if isinstance(x, Subject)], [x for x in ordered if isinstance(x, Skipped)]


def _floors(subjects: Sequence[Subject]) -> tuple[Floor, ...]:
    source = sum(subject.source_bytes for subject in subjects)
    found = []
    for number, floor in enumerate(FLOORS):
        for name in (OURS, *(rival.name for rival in RIVALS)):
            files = [(subject.floors[name][number], subject.source_bytes) for subject in subjects]
            kept = sum(size is None or size >= original for size, original in files)
            stored = sum(subject.stored(name, number) for subject in subjects)
            found.append(Floor(name, floor, stored, source, kept))
    return tuple(found)


def _views(subjects: Sequence[Subject], entries: dict[str, Entry], measurer: Measurer, quality: int) -> Iterator[View]:
    for choice in choose(subjects, quality, _SHOWN):
        read = measurer.read_pixels(entries[choice.subject.key])
        if not isinstance(read, Skipped):  # it may have gone meanwhile
            yield show(choice, read[0], quality, measurer.press)


def _timed(
    subjects: Sequence[Subject], entries: dict[str, Entry], measurer: Measurer, codec: Codec, quality: int
) -> list[Speed]:
    """Speeds on the first images, of about `_TIMED_PIXELS` together."""
    images, pixels = [], 0
    for subject in subjects:
        read = measurer.read_pixels(entries[subject.key])
        if not isinstance(read, Skipped):
            images.append(read[0])
            pixels += subject.width * subject.height
        if pixels >= _TIMED_PIXELS:
            break
    return speeds(images, quality, codec) if images else []


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes share the cores; what they are timed at shall be a core's speed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
