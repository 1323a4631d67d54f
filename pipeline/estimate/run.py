"""Estimate: predict size, saving, time and cost of encoding a source, from a sample of it.

    listing --sample by size--> a few hundred objects --load, analyse, compress--> bytes and seconds of each
                                                      --scale up by bytes-->       totals with 95 % intervals

The sample is encoded by the stages of the encode job, in this process, one object after the other, on one thread.
Seconds are processor time, the decoder's included, so that other load on the machine does not matter. Sources that are
rejected or kept count with all of their bytes. Metadata counts once per image, though Parquet stores what many images
share only once per row group.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from pipeline.estimate.byte_sampling import (
    Interval,
    Sample,
    mean_interval,
    ratio_interval,
    size_weighted_sample,
    weighted_mean,
)
from pipeline.estimate.prices import Prices, checked_name, read_prices
from pipeline.estimate.sample_encoder import COMPARED, EncodedObject, encode_sample
from pipeline.estimate.settings import EstimateSettings
from pipeline.sources.open import open_source
from pipeline.storage.base import StorageError
from pipeline.storage.listing.source_listing import SourceListing

__all__ = ["EstimateResult", "EstimateSettings", "estimate"]

EFFICIENCY = 0.8
"""Share of a machine's core-seconds spent on encoding; the rest goes to starting, fetching and writing."""
SHARD_BYTES = 64 << 20
_GB = 1e9


@dataclass(frozen=True, slots=True)
class EstimateResult:
    """Prediction for a whole source.

    Attributes:
        source: URL of the source.
        target: target that its images are compressed to.
        objects: number of objects in the listing.
        source_bytes: their total size.
        sampled: number of objects encoded for the estimate.
        census: whether these are all objects.
        shares: share of the source's bytes by outcome: latent, standard, jxl, zstd, original, rejected.
        stored_bytes: bytes of the archive.
        saved_bytes: bytes saved.
        rival_bytes: bytes as WebP and AVIF at the same PSNR (or SSIMULACRA2, if that is the floor), by name; estimated
            from fewer objects.
        core_hours: core-hours to encode everything, on cores like this machine's.
        hours: hours with the machines asked for.
        cost: dollars for machines and requests, once.
        storage: kind of storage, a name in the price table.
        machine: number and kind of the machines.
        month_now: dollars per month to store the source.
        month_saved: dollars saved per month.
        pays_back_months: months until the saving equals the cost; None if nothing is saved.
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
        """The fields as JSON values."""
        return asdict(self)


def estimate(settings: EstimateSettings, *, notify: Callable[[str], None] = lambda text: None) -> EstimateResult:
    """Predict size, saving, time and cost of encoding a source. Nothing is written, and no cluster is needed.

    Args:
        settings: source, target, sample size and prices.
        notify: called with a line of text about the progress, every ten seconds or so.

    Raises:
        MaepressError: for a source, model or price table that cannot be read.
    """
    prices = read_prices(settings.prices)
    storage = checked_name(prices.storage, settings.storage, "storage")
    machine = checked_name(prices.machines, settings.machine, "machine")
    source = open_source(settings.source)
    listing = SourceListing(source, settings.globs())
    sample = size_weighted_sample(iter(listing), settings.sample, random.Random(settings.seed))
    for folder, reason in listing.unlisted.items():
        notify(f"left out: {folder} ({reason})")
    if not sample.source_bytes:
        raise StorageError(f"{settings.source} holds nothing but empty objects: there is nothing to encode")
    notify(f"{sample.objects:,} objects; encoding {_encoded_of(sample):,} of them")
    encoded = encode_sample(sample, source, settings, notify)
    return scale_up(settings, sample, encoded, prices, storage, machine)


def scale_up(
    settings: EstimateSettings,
    sample: Sample,
    encoded: Sequence[EncodedObject],
    prices: Prices,
    storage: str,
    machine: str,
) -> EstimateResult:
    """Extrapolate from the bytes and seconds of a sample to the whole source.

    Args:
        settings: target and number of machines.
        sample: the sample.
        encoded: outcomes of the sample's entries, in order, without empty objects.
        prices: the price table.
        storage: kind of storage, a name in the table.
        machine: kind of machine, a name in the table.
    """
    whole = _source_bytes(sample, encoded)
    stored = _total(sample, encoded, [x.stored / x.size for x in encoded], most=whole / sample.source_bytes)
    seconds = _total(sample, encoded, [x.seconds / x.size for x in encoded])
    rate = prices.machines[machine]
    hours = seconds.times(1 / (3600 * rate.cores * settings.machines * EFFICIENCY))
    machines = hours.times(rate.hour * settings.machines)
    requests = _request_dollars(sample, prices)
    cost = Interval(*(dollars + requests for dollars in (machines.value, machines.low, machines.high)))
    saved = stored.complement(whole)
    monthly = saved.times(prices.storage[storage] / _GB)
    return EstimateResult(
        source=settings.source,
        target=settings.target().described(),
        objects=sample.objects,
        source_bytes=whole,
        sampled=_encoded_of(sample),
        census=sample.census,
        shares=_shares(sample, encoded),
        stored_bytes=stored,
        saved_bytes=saved,
        rival_bytes=_bytes_of_others(sample, encoded, stored, whole),
        core_hours=seconds.times(1 / 3600),
        hours=hours,
        cost=cost,
        storage=storage,
        machine=f"{settings.machines} x {machine}",
        month_now=whole / _GB * prices.storage[storage],
        month_saved=monthly,
        pays_back_months=cost.value / monthly.value if monthly.value > 0 else None,
    )


def _encoded_of(sample: Sample) -> int:
    """How many objects are encoded: large ones may be under several points."""
    return len({entry.key for entry in sample.entries if entry.size})


def _source_bytes(sample: Sample, encoded: Sequence[EncodedObject]) -> int:
    """The bytes of the whole source, as listed; estimated where a listing only guesses sizes."""
    if all(x.read is None for x in encoded):
        return sample.source_bytes
    return max(1, round(_total(sample, encoded, [x.source_bytes / x.size for x in encoded]).value))


def _total(sample: Sample, of: Sequence[EncodedObject], ratios: Sequence[float], most: float = math.inf) -> Interval:
    """The total over the source of a quantity whose ratio to the source's bytes is known for the sample."""
    if sample.census:
        return weighted_mean(ratios, [x.size for x in of]).times(sample.source_bytes)
    return mean_interval(ratios, most=most).times(sample.source_bytes)


def _shares(sample: Sample, encoded: Sequence[EncodedObject]) -> dict[str, float]:
    weights = [x.source_bytes if sample.census else x.source_bytes / x.size for x in encoded]
    shares = {status: 0.0 for status in ("latent", "standard", "jxl", "zstd", "original", "rejected")}
    for x, weight in zip(encoded, weights, strict=True):
        shares[x.status] += weight / sum(weights)
    return shares


def _bytes_of_others(
    sample: Sample, encoded: Sequence[EncodedObject], stored: Interval, whole: int
) -> dict[str, Interval]:
    """The bytes as other codecs, by their ratio to ours at the compared points; `stored` and `whole` are totals."""
    compared = [x for x in encoded if x.others is not None]
    if len(compared) < 2:
        return {}
    # A point of a size-weighted sample stands for as many bytes as any other, an object of a census for its own.
    weights = [1.0 if sample.census else 1 / x.size for x in compared]
    bases = [x.stored * weight for x, weight in zip(compared, weights, strict=True)]
    totals = {}
    for i, other in enumerate(COMPARED):
        found = [(x.others or ())[i] * weight for x, weight in zip(compared, weights, strict=True)]
        total = ratio_interval(found, bases, stored, 1 - len(compared) / len(encoded))
        least = sum((x.others or ())[i] for x in compared) if sample.census else 0.0
        totals[other.name] = Interval(total.value, max(least, total.low), min(total.high, whole))
    return totals


def _request_dollars(sample: Sample, prices: Prices) -> float:
    """Price of one GET per object, four PUTs per shard and one LIST per thousand objects."""
    shards = 2 + sample.source_bytes / SHARD_BYTES
    thousands = sample.objects / 1000
    return (
        thousands * prices.requests.get
        + 4 * shards / 1000 * prices.requests.put
        + thousands / 1000 * prices.requests.list
    )
