"""Evaluate: compare a model with JPEG, WebP, AVIF and JPEG XL on given images.

    listing --sample--> at most N objects --Measurer, in processes--> a MeasuredImage each --aggregate--> Evaluation

A worker holds the pixels of one image at a time, this process those of the few example images.
"""

import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from model.codec import Codec
from model.core.boundary import Fault, attempt
from model.core.config import QUALITIES
from model.core.model_files import read_config
from pipeline.archive.model_name import name_from
from pipeline.archive.model_store import local_model
from pipeline.dataset.reservoir import reservoir_sample
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS
from pipeline.evaluate.curves import deltas, mean_curve
from pipeline.evaluate.examples import View, choose, show
from pipeline.evaluate.measurement import OURS, MeasuredImage, MeasurementPlan, Measurer, Skipped
from pipeline.evaluate.measuring_processes import measured_in_processes
from pipeline.evaluate.model_card import model_card
from pipeline.evaluate.published import published_for
from pipeline.evaluate.result import Evaluation, Floor
from pipeline.evaluate.settings import EvaluateSettings
from pipeline.evaluate.speed import Speed, speeds
from pipeline.monitoring.formatting import duration
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry, StorageError
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.train.notes import learned_by

FLOORS = (36.0, 38.0, 40.0, 42.0)
"""PSNRs in dB at which the codecs' bytes are compared."""
_ARCHIVE_QUALITY = 40
_SHOWN = 3
"""Number of best and of worst images among the examples."""
_TIMED_PIXELS = 2_000_000
"""Pixels on which the codecs are timed, roughly."""
_NOTIFY_SECONDS = 10.0
Notify = Callable[[str], None]


def evaluate(settings: EvaluateSettings, *, notify: Notify = lambda text: None) -> Evaluation:
    """Compare a model with other codecs; nothing is written.

    Args:
        settings: which images and model, and how thoroughly.
        notify: called with a line of text about the progress, every ten seconds or so.

    Raises:
        MaepressError: for images or a model that cannot be read.
    """
    began = time.monotonic()
    folder = local_model(settings.model)
    codec = Codec.load(folder)
    description = read_config(folder)
    source = open_source(settings.images)
    objects = (entry for entry in SourceListing(source, settings.globs()) if entry.size)
    drawn, listed = reservoir_sample(objects, settings.max_images, settings.seed)
    qualities = tuple(sorted({round(q) for q in np.linspace(0, QUALITIES - 1, settings.qualities)}))
    plan = MeasurementPlan(source, qualities, FLOORS, int(settings.max_megapixels * 1e6))
    notify(f"{listed:,} objects; measuring {len(drawn):,} of them at {len(qualities)} qualities")
    with _one_thread(), Measurer(codec, plan) as measurer:
        measured, skipped = _measure_all(drawn, plan, str(folder), measurer, settings.workers, notify)
        if not measured:
            reason = skipped[0].reason if skipped else "it is empty"
            raise StorageError(f"{settings.images} has no image that can be measured ({reason})")
        by_key = {entry.key: entry for entry in drawn}
        shown = min(qualities, key=lambda quality: abs(quality - _ARCHIVE_QUALITY))
        notify("timing, and encoding the example images")
        views = list(_views(measured, by_key, measurer, shown))
        timed = _timed(measured, by_key, measurer, codec, shown)
    points = {
        name: [image.points[name] for image in measured] for name in (OURS, *(other.name for other in BASELINE_CODECS))
    }
    published = published_for(image.digest for image in measured)
    others = published.curves if published else {}
    return Evaluation(
        images=source.url,
        model=settings.model,
        fingerprint=codec.fingerprint,
        name=name_from(description),
        learned_from=learned_by(description).known_among(by_key[image.key] for image in measured),
        card=model_card(folder),
        listed=listed,
        seed=settings.seed,
        skipped=tuple(skipped),
        measured=tuple(measured),
        curves={name: mean_curve(images) for name, images in points.items()},
        published=published,
        deltas=deltas(OURS, points, others),
        floors=_floors(measured),
        speeds=tuple(timed),
        shown_quality=shown,
        views=tuple(views),
        versions={other.name: other.version for other in BASELINE_CODECS},
        seconds=time.monotonic() - began,
    )


def _measure_all(
    entries: Sequence[Entry],
    plan: MeasurementPlan,
    folder: str,
    measurer: Measurer,
    workers: int | None,
    notify: Notify,
) -> tuple[list[MeasuredImage], list[Skipped]]:
    """Measure every image, in this process or in several; results are in order of the keys."""
    count = min(len(entries), workers or len(os.sched_getaffinity(0)))
    results: Iterator[tuple[str, MeasuredImage | Skipped]]
    if count > 1:
        results = measured_in_processes(entries, plan, folder, count)
    else:
        results = ((entry.key, measurer.measure(entry)) for entry in entries)
    found: dict[str, MeasuredImage | Skipped] = {}
    began = notified = time.monotonic()
    for key, result in results:
        found[key] = result
        if (now := time.monotonic()) - notified > _NOTIFY_SECONDS:
            notified = now
            left = (now - began) / len(found) * (len(entries) - len(found))
            notify(f"{len(found):,}/{len(entries):,} images, about {duration(left)} left")
    ordered = [found[entry.key] for entry in entries]
    return [x for x in ordered if isinstance(x, MeasuredImage)], [x for x in ordered if isinstance(x, Skipped)]


def _floors(measured: Sequence[MeasuredImage]) -> tuple[Floor, ...]:
    source = sum(image.source_bytes for image in measured)
    found = []
    for number, floor in enumerate(FLOORS):
        for name in (OURS, *(other.name for other in BASELINE_CODECS)):
            files = [(image.floors[name][number], image.source_bytes) for image in measured]
            kept = sum(size is None or size >= original for size, original in files)
            stored = sum(image.stored(name, number) for image in measured)
            found.append(Floor(name, floor, stored, source, kept))
    return tuple(found)


def _views(
    measured: Sequence[MeasuredImage], entries: dict[str, Entry], measurer: Measurer, quality: int
) -> Iterator[View]:
    for choice in choose(measured, quality, _SHOWN):
        read = measurer.read_pixels(entries[choice.image.key])
        if isinstance(read, Skipped):  # it may have disappeared meanwhile
            continue
        view = attempt(functools.partial(show, choice, read.pixels, quality, measurer.encode))
        if not isinstance(view, Fault):
            yield view


def _timed(
    measured: Sequence[MeasuredImage], entries: dict[str, Entry], measurer: Measurer, codec: Codec, quality: int
) -> list[Speed]:
    """Time the codecs on the first images, of about `_TIMED_PIXELS` in total."""
    images, pixels = [], 0
    for image in measured:
        read = measurer.read_pixels(entries[image.key])
        if not isinstance(read, Skipped):
            images.append(read.pixels)
            pixels += image.width * image.height
        if pixels >= _TIMED_PIXELS:
            break
    return speeds(images, quality, codec) if images else []


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread: processes share the cores, and speeds are measured per core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
