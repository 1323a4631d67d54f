"""Encoding the sample of an estimate: each object by the stages of the encode job, in one thread, whose time counts."""

import functools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from model.bitstream import alpha_codec
from model.bitstream.container import METADATA
from model.codec import Codec
from model.core.boundary import Fault, attempt
from model.core.cores import cores
from model.core.target import Target
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.archive.model_store import local_model
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import COMPRESSED
from pipeline.encode.stages import FATAL, Loaded, analyse, compress, load
from pipeline.estimate.byte_sampling import Sample
from pipeline.estimate.settings import EstimateSettings
from pipeline.evaluate.baseline_codecs import AVIF, WEBP, BaselineCodec, bytes_at
from pipeline.execution.local_flow import in_order
from pipeline.images.formats.codec_names import MAE_ALONE
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.monitoring.formatting import duration
from pipeline.storage.base import Entry, Store

COMPARED = (WEBP, AVIF)
"""Codecs that the sample is compared with. JPEG is not among them, as most sources are JPEGs."""
_NOTIFY_SECONDS = 10.0
_READ_SECONDS, _MAX_BYTES = 60.0, 512 << 20


@dataclass(frozen=True, slots=True)
class EncodedObject:
    """Outcome of encoding one object of the sample.

    Attributes:
        size: bytes of the source, as listed.
        stored: bytes that remain.
        status: "rejected", or as in the archive: "latent", "standard", "jxl", "zstd", "original".
        pixels: width times height; 0 if it was rejected or not decoded.
        seconds: core-seconds of reading, analysing and entropy coding.
        psnr: PSNR in dB of a compressed image.
        others: bytes as each of `COMPARED` at that PSNR (or SSIMULACRA2, if that is the floor), alpha and metadata
            included; None if it was not compared.
        read: bytes of the source, where a listing does not know them; None elsewhere.
    """

    size: int
    stored: int
    status: str
    pixels: int
    seconds: float
    psnr: float | None = None
    others: tuple[int, ...] | None = None
    read: int | None = None

    @property
    def source_bytes(self) -> int:
        """Bytes of the source, as read or else as listed."""
        return self.size if self.read is None else self.read


def encode_sample(
    sample: Sample, source: Store, settings: EstimateSettings, notify: Callable[[str], None]
) -> list[EncodedObject]:
    """Encode the sample, on a thread per core; an object that was drawn several times is encoded once."""
    codec = Codec.load(local_model(settings.model)) if settings.needs_model else None
    limits = Limits.for_images(_READ_SECONDS, MAX_PIXELS, _MAX_BYTES)
    entries = [entry for entry in sample.entries if entry.size]
    places = compared_places(len(entries), settings.compare, settings.seed)
    compared = {entries[i].key for i in places}
    chosen = {entry.key: (entry, COMPARED if entry.key in compared else ()) for entry in entries}
    own = threading.local()
    sandboxes: list[Sandbox] = []

    def work(one: tuple[Entry, Sequence[BaselineCodec]]) -> EncodedObject:
        if not hasattr(own, "sandbox"):
            own.sandbox = Sandbox(limits)  # of each thread, so that its processor time is that of one object
            sandboxes.append(own.sandbox)
            torch.set_num_threads(1)  # of this thread: seconds are core-seconds
        return _encoded(one[0], source, own.sandbox, codec, settings, one[1])

    tell = _TimeLeft(len(chosen), notify)
    try:
        done = {}
        for key, outcome in zip(chosen, in_order(chosen.values(), work, cores()), strict=True):
            done[key] = outcome
            tell.done(len(done))
        return [
            done[entry.key] if i in places else replace(done[entry.key], others=None) for i, entry in enumerate(entries)
        ]
    finally:
        for sandbox in sandboxes:
            sandbox.close()


def compared_places(count: int, most: int, seed: int) -> frozenset[int]:
    """Places in a sample of the objects that are compared with other codecs: one at random in each stretch.

    Stretches of equal length hold neighbours in key order, which are often alike, so that these few objects miss no
    part of the keys.

    Args:
        count: number of objects in the sample.
        most: number of stretches; all objects are compared if there are no more, none if it is 0.
        seed: seed of the random places.
    """
    if not most:
        return frozenset()
    rng = random.Random(seed)
    ends = [count * i // most for i in range(most + 1)] if most < count else list(range(count + 1))
    return frozenset(rng.randrange(low, high) for low, high in pairwise(ends))


class _TimeLeft:
    """Says now and then how many objects are done, and how long the others will take."""

    def __init__(self, objects: int, notify: Callable[[str], None]) -> None:
        self._objects, self._notify = objects, notify
        self._begun = self._notified = time.monotonic()

    def done(self, count: int) -> None:
        """Tell that so many objects are done."""
        now = time.monotonic()
        if now - self._notified > _NOTIFY_SECONDS:
            self._notified = now
            left = (now - self._begun) / count * (self._objects - count)
            self._notify(f"{count:,}/{self._objects:,} objects, {duration(left)} left")


def _encoded(
    entry: Entry,
    source: Store,
    sandbox: Sandbox,
    codec: Codec | None,
    settings: EstimateSettings,
    others: Sequence[BaselineCodec],
) -> EncodedObject:
    """The outcome of one object; one that fails in any way counts as rejected."""
    begun = sandbox.processor_seconds()
    by = (codec, settings.target(), others, settings.codecs, settings.effort_of_model)
    work = functools.partial(encode_object, entry, source, sandbox, *by)
    done = attempt(work, passes=FATAL)
    if not isinstance(done, Fault):
        return done
    seconds = sandbox.processor_seconds() - begun
    return EncodedObject(entry.size, entry.size, "rejected", 0, seconds, others=(entry.size,) * len(others) or None)


def encode_object(
    entry: Entry,
    source: Store,
    sandbox: Sandbox,
    codec: Codec | None,
    target: Target,
    others: Sequence[BaselineCodec],
    codecs: Sequence[str] = MAE_ALONE,
    effort: int = 0,
) -> EncodedObject:
    """Encode one object as the encode job would, and time it.

    Args:
        entry: the object.
        source: the store that holds it.
        sandbox: decodes it.
        codec: the model; None where `codecs` do not need it.
        target: target of the compression.
        others: codecs to compare with; may be empty.
        codecs: those that may compress.
        effort: of the model.
    """
    (loaded,) = load([entry], source, sandbox, MAX_PIXELS, _MAX_BYTES)
    begun = sandbox.processor_seconds()  # fetching waits for the store, not for a core
    if isinstance(loaded, Loaded):
        sandbox.read(loaded.source, max_pixels=MAX_PIXELS)  # again, only to time it
    items = analyse([loaded], codec, target, codecs=codecs, effort=effort)
    how: dict[str, Any] = {"codecs": codecs, "effort": effort}
    compressed = compress(items, codec.coder if codec else None, target, sandbox, "estimate", **how)
    seconds = sandbox.processor_seconds() - begun
    if compressed.rejections or isinstance(loaded, Rejection):
        return EncodedObject(entry.size, entry.size, "rejected", 0, seconds, others=(entry.size,) * len(others) or None)
    (row,) = compressed.rows.to_pylist()
    metadata = sum(len(row[name] or b"") for name in METADATA)
    read = None if source.sizes_are_known else len(loaded.source)
    most = entry.size if read is None else read
    stored = min(most, row["payload_bytes"] + metadata)
    sizes = None
    picture = loaded.reading.picture
    if others and row["status"] in COMPRESSED and picture is not None:
        equal = (row["psnr"], psnr) if target.min_ssimulacra2 is None else (row["ssimulacra2"], ssimulacra2)
        found = [bytes_at(other, picture.pixels, *equal) for other in others]
        alpha = 0 if picture.alpha is None else len(alpha_codec.write(picture.alpha))  # without loss, as beside ours
        sizes = tuple(min(most, size + alpha + metadata) if size else most for size in found)
    elif others:
        sizes = (most,) * len(others)  # a kept source would be kept beside them, too
    pixels = row["width"] * row["height"] if picture is not None else 0
    return EncodedObject(entry.size, stored, row["status"], pixels, seconds, row["psnr"], sizes, read)
