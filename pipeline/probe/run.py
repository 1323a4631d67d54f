"""Probe: what can be told of an archive's images from their latents, without decoding a pixel.

    payloads --z, first pass--> grids --> head --> report on images it has not seen
    payloads --decode, shrink--> patches of pixels --> the same head --> the same report

The comparison is at equal compute: the pixels are shrunk until a patch has about as many numbers as a position of the
grid, so both heads have as many positions, widths, steps and, to within a few per cent, multiply-adds.
"""

import math
import re
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
from numpy.typing import NDArray
from PIL import Image

from model.core.config import HYPER_STRIDE, LATENT_STRIDE
from model.core.errors import MaepressError
from model.inference.partial_decode import LATTICE
from pipeline.archive.archive import Archive
from pipeline.archive.schema import LATENT
from pipeline.dataset.cache import LatentCache, write
from pipeline.dataset.samples import Grid
from pipeline.dataset.split import is_held_out
from pipeline.dataset.torch_dataset import ArchiveImages
from pipeline.probe.class_report import Report, report
from pipeline.probe.fitting import Grids, answers, fit
from pipeline.probe.heads import ClassHead, Trunk
from pipeline.probe.settings import FOLDER, ProbeSettings

__all__ = ["Outcome", "ProbeResult", "ProbeSettings", "probe"]

WIDTH, DEPTH, DROPOUT = 64, 2, 0.2
STRIDES = {"sketch": HYPER_STRIDE * LATENT_STRIDE, "prefix": LATTICE * LATENT_STRIDE, "latents": LATENT_STRIDE}
"""Pixels between neighbouring positions."""
HALVINGS = {"sketch": 0, "prefix": 1, "latents": 2}
"""Every head ends up with a position every 64 pixels."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a head learned from one kind of grid, and what that took.

    Attributes:
        report: on the images held out.
        numbers: of a position.
        multiply_adds: of one pass over an image, on average.
        cache_bytes: of all grids on disk.
        read_seconds: from payloads to grids, once; 0 where the cache had them.
        read_cpu_seconds: the same in processor time.
        learn_seconds: of training.
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
    """What a probe found.

    Attributes:
        archive: its URL.
        content: what of the latents was learned from.
        classes: number of images of each label.
        learned: images learned from.
        held_out: images asked about.
        without_label: images whose key the rule gives no label; they took no part.
        latents: learned from latents.
        pixels: learned from decoded pixels; None when that was not asked for.
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
        """Args: mirrored: what makes of a grid that of the mirrored image; then half of them are."""
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
    """Learn an archive's labels from its latents, and ask about images held out.

    Args:
        settings: which labels, from what.
        notify: told how far it is.

    Raises:
        MaepressError: in one line, when there is no archive, no image with latents, or the rule makes no classes.
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
        names = _checked_classes(labels, settings)
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
    """Tells every thousandth image."""

    def done(count: int) -> None:
        if count % 1000 == 0:
            notify(f"{count:,} images")

    return done


def labeller(rule: str) -> Callable[[str], str | None]:
    """What gives a key's label, or None for a key that has none."""
    if rule == FOLDER:
        return lambda key: key.rsplit("/", 2)[-2] if "/" in key else None
    pattern = re.compile(rule)

    def label(key: str) -> str | None:
        found = pattern.search(key)
        return found[1] if found else None

    return label


def patches(image: NDArray[np.uint8], stride: int, side: int) -> NDArray[np.uint8]:
    """An image shrunk by `stride / side` and cut into patches, uint8 `[ceil(H/stride), ceil(W/stride), 3 side^2]`."""
    rows, columns = (-(-n // stride) for n in image.shape[:2])
    padded = np.pad(
        image, [(0, n * stride - m) for n, m in zip((rows, columns), image.shape, strict=False)] + [(0, 0)], "edge"
    )
    small = Image.fromarray(padded).resize((columns * side, rows * side), Image.Resampling.BOX, reducing_gap=None)
    cut = np.asarray(small).reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return cut.reshape(rows, columns, 3 * side**2)


def mirrored(grid: Grids, side: int) -> Grids:
    """The patches of the mirrored image (for one whose width is a multiple of the stride)."""
    flipped = grid[:, ::-1].reshape(*grid.shape[:2], side, side, 3)[:, :, :, ::-1]
    return flipped.reshape(grid.shape)


def _checked_classes(labels: Mapping[str, str], settings: ProbeSettings) -> list[str]:
    """The classes in order of name; refuses what nothing can be learned from."""
    names = sorted(set(labels.values()))
    held_out = {is_held_out(key, settings.held_out) for key in labels}
    rule = f"--label-from-key {settings.label_from_key}"
    if len(names) < 2:
        found = f"only the label {names[0]!r}" if names else "no label"
        raise MaepressError(f"{rule} finds {found} in the keys of {settings.archive}: give another rule")
    if len(names) * 2 > len(labels):
        raise MaepressError(f"{rule} finds {len(names)} labels for {len(labels)} images: give one that groups them")
    if len(held_out) < 2:
        purpose = "learn from" if True in held_out else "ask about"
        raise MaepressError(f"of {len(labels)} images none is left to {purpose}: change --held-out")
    return names


def _patches(archive: Archive, settings: ProbeSettings, side: int) -> Iterator[tuple[str, Mapping[str, Any], Grid]]:
    images = ArchiveImages(archive, content="image", keys=settings.keys, statuses=[LATENT], shuffle=False)
    for sample in images:
        cut = patches(sample["image"], STRIDES[settings.content], side)
        yield sample["key"], {}, Grid(cut, np.full(cut.shape[2], 1 / 255, np.float32))


def _learn(
    cache: LatentCache,
    classes: Mapping[str, int],
    names: Sequence[str],
    settings: ProbeSettings,
    read: tuple[float, float],
    mirror: Callable[[Grids], Grids] | None,
    notify: Callable[[str], None],
) -> Outcome:
    """Train a head on the images of one half of the split and ask it about the other."""
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
    """Seconds and processor seconds since it was made, or since the last lap."""

    def __init__(self) -> None:
        self._last = time.monotonic(), time.process_time()

    def lap(self) -> tuple[float, float]:
        now = time.monotonic(), time.process_time()
        spent = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return spent
