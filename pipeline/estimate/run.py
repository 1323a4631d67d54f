"""Estimate: what pressing a source would save, take and cost, from a sample of it.

    listing --draw--> a few hundred objects --load, analyse, press--> bytes and seconds of each
                                            --scale up by bytes-->    totals, each with a 95 % interval

The sample is pressed by the pipeline's own stages, in this process, one object after the other, on one thread: seconds
are processor time, the decoder's included, so that it does not matter what else the machine does. What is refused stays
where it is, so it counts with all of its bytes; so does what is kept. Metadata counts once an image, though Parquet
stores what many images share only once a row group.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch

from model.codec import Codec
from model.core.target import Target
from pipeline.archive.model_store import local_model
from pipeline.archive.receipt import Rejection
from pipeline.encode.stages import Loaded, analyse, compress, load
from pipeline.estimate.byte_sampling import Interval, Sample, draw, mean, weighted
from pipeline.estimate.prices import Prices, choose, read_prices
from pipeline.estimate.settings import EstimateSettings
from pipeline.evaluate.baseline_codecs import AVIF, WEBP, Rival, bytes_at
from pipeline.images.image_reader import MAX_PIXELS
from pipeline.images.sandbox import Limits, Sandbox, shared
from pipeline.storage.base import Entry, StorageError, Store
from pipeline.storage.open import open_source

__all__ = ["Estimate", "EstimateSettings", "estimate"]

EFFICIENCY = 0.8
"""Share of a machine's core-seconds that press: the rest goes to starting, fetching and writing."""
SHARD_BYTES = 64 << 20
RIVALS = (WEBP, AVIF)
"""What the sample is compared with; JPEG is what most sources are."""
_READ_SECONDS, _MAX_BYTES = 60.0, 512 << 20
_GB = 1e9


@dataclass(frozen=True, slots=True)
class Trial:
    """One object of the sample, pressed.

    Attributes:
        size: bytes of its source, as listed.
        stored: bytes that stay of it.
        status: "latent", "jxl", "original" or "rejected".
        pixels: width times height, 0 where it was refused.
        seconds: core-seconds of reading, analysing and entropy coding.
        psnr: of a pressed image, in dB.
        rivals: bytes as WebP and AVIF at that PSNR, where it was compared.
    """

    size: int
    stored: int
    status: str
    pixels: int
    seconds: float
    psnr: float | None = None
    rivals: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a source would become.

    Attributes:
        source: its URL.
        target: what its images were pressed to.
        objects: in the listing.
        source_bytes: of these.
        sampled: objects that were pressed for this.
        census: the sample was everything.
        shares: of the source's bytes, by what becomes of them: latent, jxl, original, rejected.
        stored_bytes: what would be left.
        saved_bytes: what would be saved.
        rival_bytes: what would be left with WebP and AVIF at the same PSNR, by name; estimated from fewer objects.
        core_hours: to press all of it, on cores like this machine's.
        hours: with the machines asked for.
        cost: dollars for machines and requests, once.
        storage: the name of the storage in the price table.
        machine: the name of the machine, and how many.
        month_now: dollars a month for the source.
        month_saved: of these, what would be saved.
        pays_back_months: cost by saving a month; infinite where nothing is saved.
    """

    source: str
    target: str
    objects: int
    source_bytes: int
    sampled: int
    census: bool
    shares: dict[str, float]
    stored_bytes: Interval
    saved_bytes: Interval
    rival_bytes: dict[str, Interval]
    core_hours: Interval
    hours: Interval
    cost: Interval
    storage: str
    machine: str
    month_now: float
    month_saved: Interval
    pays_back_months: float | None

    def to_dict(self) -> dict[str, object]:
        """The fields, as JSON can hold them."""
        return asdict(self)


def estimate(settings: EstimateSettings, *, say: Callable[[str], None] = lambda text: None) -> Estimate:
    """Predict what pressing a source would save, take and cost. Nothing is written anywhere, no cluster is needed.

    Args:
        settings: what, how, at whose prices.
        say: is told now and then how far it is.

    Raises:
        MaepressError: in one line, for a source, model or price table that cannot be read.
    """
    prices = read_prices(settings.prices)
    storage = choose(prices.storage, settings.storage, "storage")
    machine = choose(prices.machines, settings.machine, "machine")
    source = open_source(settings.source)
    sample = draw(source.entries(), settings.sample, random.Random(settings.seed))
    if not sample.source_bytes:
        raise StorageError(f"{settings.source} holds nothing but empty objects: there is nothing to press")
    say(f"{sample.objects:,} objects; pressing {len(sample.entries):,} of them")
    trials = _try_all(sample, source, settings, say)
    return scale_up(settings, sample, trials, prices, storage, machine)


def scale_up(
    settings: EstimateSettings, sample: Sample, trials: Sequence[Trial], prices: Prices, storage: str, machine: str
) -> Estimate:
    """From the sample's bytes and seconds to the source's.

    Args:
        settings: for their words and the number of machines.
        sample: what was drawn.
        trials: of the sample's entries, in order; empty objects are left out.
        prices: the table.
        storage: a name in it.
        machine: a name in it.
    """
    whole = sample.source_bytes

    def total(values: Sequence[float], of: Sequence[Trial], most: float = float("inf")) -> Interval:
        if sample.census and len(of) == len(trials):
            return weighted(values, [trial.size for trial in of]).times(whole)
        return mean(values, most=most).times(whole)

    stored = total([trial.stored / trial.size for trial in trials], trials, most=1.0)
    seconds = total([trial.seconds / trial.size for trial in trials], trials)
    compared = [trial for trial in trials if trial.rivals is not None]
    rivals = {
        rival.name: total([trial.rivals[i] / trial.size for trial in compared if trial.rivals], compared, most=1.0)
        for i, rival in enumerate(RIVALS)
        if len(compared) > 1
    }
    weights = [trial.size if sample.census else 1 for trial in trials]
    shares = {status: 0.0 for status in ("latent", "jxl", "original", "rejected")}
    for trial, weight in zip(trials, weights, strict=True):
        shares[trial.status] += weight / sum(weights)
    rate = prices.machines[machine]
    hours = seconds.times(1 / (3600 * rate.cores * settings.machines * EFFICIENCY))
    shards = 2 + whole / SHARD_BYTES
    requests = (
        sample.objects * prices.requests.get
        + 4 * shards * prices.requests.put
        + sample.objects / 1000 * prices.requests.list
    ) / 1000
    machines = hours.times(rate.hour * settings.machines)
    cost = Interval(*(dollars + requests for dollars in (machines.value, machines.low, machines.high)))
    saved = stored.complement(whole)
    monthly = saved.times(prices.storage[storage] / _GB)
    return Estimate(
        source=settings.source,
        target=settings.target().described(),
        objects=sample.objects,
        source_bytes=whole,
        sampled=len(trials),
        census=sample.census,
        shares=shares,
        stored_bytes=stored,
        saved_bytes=saved,
        rival_bytes=rivals,
        core_hours=seconds.times(1 / 3600),
        hours=hours,
        cost=cost,
        storage=storage,
        machine=f"{settings.machines} x {machine}",
        month_now=whole / _GB * prices.storage[storage],
        month_saved=monthly,
        pays_back_months=cost.value / monthly.value if monthly.value > 0 else None,
    )


def _try_all(sample: Sample, source: Store, settings: EstimateSettings, say: Callable[[str], None]) -> list[Trial]:
    """Press the sample; an object that was drawn twice is pressed once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # seconds shall be core-seconds
    try:
        codec = Codec.load(local_model(settings.model))
        sandbox = shared(Limits.for_images(_READ_SECONDS, MAX_PIXELS, _MAX_BYTES))
        entries = [entry for entry in sample.entries if entry.size]
        every = -(-len(entries) // settings.compare) if settings.compare else 0
        done: dict[str, Trial] = {}
        said = time.monotonic()
        for i, entry in enumerate(entries):
            if entry.key not in done:
                rivals = RIVALS if every and i % every == 0 else ()
                done[entry.key] = attempt(entry, source, sandbox, codec, settings.target(), rivals)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(f"{i + 1:,}/{len(entries):,} objects")
        return [done[entry.key] for entry in entries]
    finally:
        torch.set_num_threads(threads)


def attempt(
    entry: Entry, source: Store, sandbox: Sandbox, codec: Codec, target: Target, rivals: Sequence[Rival]
) -> Trial:
    """Press one object as a run would, and time it.

    Args:
        entry: of the listing.
        source: where it is.
        sandbox: where it is decoded.
        codec: the model.
        target: what it is pressed to.
        rivals: codecs to compare with; none to save their time.
    """
    (loaded,) = load([entry], source, sandbox, MAX_PIXELS, _MAX_BYTES)
    begun = sandbox.processor_seconds()  # fetching waits for the store, not for a core
    if isinstance(loaded, Loaded):
        sandbox.read(loaded.source, max_pixels=MAX_PIXELS)  # again, for its time alone
    items = analyse([loaded], codec, target)
    compressed = compress(items, codec.coder, target, sandbox, "estimate")
    seconds = sandbox.processor_seconds() - begun
    if compressed.rejections or isinstance(loaded, Rejection):
        return Trial(entry.size, entry.size, "rejected", 0, seconds, rivals=(entry.size,) * len(rivals) or None)
    (row,) = compressed.rows.to_pylist()
    metadata = sum(len(row[name] or b"") for name in ("icc", "exif", "xmp"))
    stored = min(entry.size, row["payload_bytes"] + metadata)
    others = None
    picture = loaded.reading.picture
    if rivals and row["status"] == "latent" and picture is not None:
        found = [bytes_at(rival, picture.pixels, row["psnr"]) for rival in rivals]
        others = tuple(min(entry.size, size + metadata) if size else entry.size for size in found)
    elif rivals:
        others = (entry.size,) * len(rivals)  # neither can hold what is kept as it is, or gains from it
    return Trial(entry.size, stored, row["status"], row["width"] * row["height"], seconds, row["psnr"], others)
