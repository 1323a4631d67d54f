"""Probe: learn labels from an archive's latents, without decoding pixels, and test on images held out.

    payloads --z, first pass--> grids --> head --> report on images held out
    payloads --decode, shrink--> patches of pixels --> the same head --> the same report

The comparison is at equal compute: pixels are shrunk until a patch has about as many numbers as a position of the grid,
so that both heads have equal positions, widths, steps and, to within a few per cent, multiply-adds.
"""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.core.boundary import Fault
from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.inference.partial_decode import LATTICE
from pipeline.archive.archive import Archive
from pipeline.archive.schema import LATENT
from pipeline.dataset.cache import LatentCache, write
from pipeline.dataset.samples import Grid, Samples
from pipeline.dataset.split import is_held_out
from pipeline.dataset.torch_dataset import DECODED_AT_ONCE, ArchiveImages
from pipeline.probe.class_report import Report, report
from pipeline.probe.fitting import Grids, answers, fit
from pipeline.probe.heads import ClassHead, Trunk
from pipeline.probe.labels import class_names, labeller
from pipeline.probe.pixel_patches import mirrored, patches
from pipeline.probe.settings import ProbeSettings

__all__ = ["Outcome", "ProbeResult", "ProbeSettings", "probe"]

WIDTH, DEPTH, DROPOUT = 64, 2, 0.2
STRIDES = {"sketch": HYPER_STRIDE * LATENT_STRIDE, "prefix": LATTICE * LATENT_STRIDE, "latents": LATENT_STRIDE}
"""Pixels between neighbouring positions."""
HALVINGS = {"sketch": 0, "prefix": 1, "latents": 2}
"""Halvings in the trunk: every head ends with one position per 64 pixels."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of learning from one kind of grid, and its cost.

    Attributes:
        report: scores on the images held out.
        numbers: numbers per position.
        multiply_adds: mean multiply-adds of one pass over an image.
        cache_bytes: size of all grids on disk.
        read_seconds: time from payloads to grids, once; near 0 if the cache had them.
        read_cpu_seconds: the same in processor time.
        learn_seconds: training time.
        learn_cpu_seconds: the same in processor time.
    """

    report: Report
    numbers: int
    multiply_adds: int
    cache_bytes: int
    read_seconds: float
    read_cpu_seconds: float
    learn_seconds: float
    learn_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """Result of a probe.

    Attributes:
        archive: URL of the archive.
        content: kind of latents that was learned from.
        classes: number of images by label.
        learned: number of training images.
        held_out: number of test images.
        without_label: number of images that the rule gives no label; they are not used.
        latents: result of learning from latents.
        pixels: result of learning from decoded pixels; None if not asked for.
    """

    archive: str
    content: str
    classes: dict[str, int]
    learned: int
    held_out: int
    without_label: int
    latents: Outcome
    pixels: Outcome | None

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)


class _Labelled:
    """Images of a cache with their classes."""

    def __init__(
        self,
        cache: LatentCache,
        classes: Mapping[str, int],
        numbers: Sequence[int],
        mirrored: Callable[[Grids], Grids] | None = None,
        seed: int = 0,
    ) -> None:
        """Args: mirrored: function that mirrors a grid; it is applied to a random half of the grids."""
        self._cache, self._numbers, self._mirrored = cache, numbers, mirrored
        self._rng = np.random.default_rng(seed)
        self.classes = np.array([classes[cache.keys[number]] for number in numbers], np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> tuple[Grids, int]:
        grid = self._cache.grid(self._numbers[number]).values()
        if self._mirrored is not None and self._rng.integers(2):
            grid = self._mirrored(grid)
        return grid, int(self.classes[number])


def probe(settings: ProbeSettings, notify: Callable[[str], None] = lambda text: None) -> ProbeResult:
    """Learn an archive's labels from its latents, and test on images held out.

    Args:
        settings: labels and kind of latents.
        notify: called with a line of text about the progress.

    Raises:
        MaepressError: if there is no archive or no image with latents, or the rule makes no classes.
    """
    archive = Archive.open(settings.archive)
    label = labeller(settings.label_from_key)
    clock = _Clock()
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maepress-probe-")))
        notify("reading latents")
        folder = settings.cache or temporary / "latents"
        cache = LatentCache.of(folder, archive, content=settings.content, keys=settings.keys, done=_counted(notify))
        read = clock.lap()
        labels = {key: found for key in cache.keys if (found := label(key)) is not None}
        names = class_names(labels, settings)
        classes = {key: names.index(found) for key, found in labels.items()}
        latents = _learn(cache, classes, names, settings, read, None, notify)
        pixels = None
        if settings.pixels:
            notify("decoding pixels")
            clock.lap()
            side = math.isqrt(latents.numbers // 3)
            write(temporary / "pixels", _patches(archive, settings, side), {}, _counted(notify))
            read = clock.lap()
            pixels = _learn(
                LatentCache(temporary / "pixels"), classes, names, settings, read, lambda x: mirrored(x, side), notify
            )
    held_out = sum(is_held_out(key, settings.held_out) for key in labels)
    return ProbeResult(
        archive.url,
        settings.content,
        dict(sorted(Counter(labels.values()).items())),
        len(labels) - held_out,
        held_out,
        len(cache) - len(labels),
        latents,
        pixels,
    )


def _counted(notify: Callable[[str], None]) -> Callable[[int], None]:
    """Report every thousandth image."""

    def done(count: int) -> None:
        if count % 1000 == 0:
            notify(f"{count:,} images")

    return done


def _patches(archive: Archive, settings: ProbeSettings, side: int) -> Iterator[tuple[str, Mapping[str, Any], Grid]]:
    images = ArchiveImages(archive, content="image", keys=settings.keys, statuses=[LATENT], shuffle=False)
    samples = Samples(archive, "image")
    for rows in images.batches(DECODED_AT_ONCE):
        for row, pixels in zip(rows, samples.pixels_or_faults(rows), strict=True):
            if not isinstance(pixels, Fault):  # the cache of latents has named it in the log
                cut = patches(pixels, STRIDES[settings.content], side)
                yield row["key"], {}, Grid(cut, np.full(cut.shape[2], 1 / 255, np.float32))


def _learn(
    cache: LatentCache,
    classes: Mapping[str, int],
    names: Sequence[str],
    settings: ProbeSettings,
    read: tuple[float, float],
    mirror: Callable[[Grids], Grids] | None,
    notify: Callable[[str], None],
) -> Outcome:
    """Train a head on one part of the split and test it on the other."""
    labelled = [number for number, key in enumerate(cache.keys) if key in classes]
    asked = [number for number in labelled if is_held_out(cache.keys[number], settings.held_out)]
    learned = sorted(set(labelled) - set(asked))
    torch.manual_seed(settings.seed)
    examples = _Labelled(cache, classes, learned, mirror, settings.seed)
    head = ClassHead(Trunk(examples[0][0].shape[2], WIDTH, DEPTH, DROPOUT, HALVINGS[settings.content]), len(names))
    clock = _Clock()
    fit(head, examples, settings.epochs, settings.seed, notify)
    spent = clock.lap()
    unseen = _Labelled(cache, classes, asked)
    scores = report(unseen.classes, answers(head, unseen), names)
    positions = sum(math.prod(cache.grid(number).numbers.shape[:2]) for number in labelled) / len(labelled)
    numbers = head.trunk.stem.in_features
    return Outcome(scores, numbers, head.trunk.multiply_adds(round(positions)), cache.nbytes, *read, *spent)


class _Clock:
    """Measures wall-clock seconds and processor seconds since its creation or the last lap."""

    def __init__(self) -> None:
        self._last = time.monotonic(), time.process_time()

    def lap(self) -> tuple[float, float]:
        now = time.monotonic(), time.process_time()
        spent = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return spent
