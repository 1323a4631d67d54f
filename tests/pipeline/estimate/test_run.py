"""Estimates of a real mixed folder: photographs in several formats, and the odd files of a real bucket."""

import random
from pathlib import Path

import pytest
from PIL import Image

from jobs.demo.photos import demo_files
from model.bitstream.container import METADATA
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.estimate.byte_sampling import Sample, size_weighted_sample
from pipeline.estimate.prices import Machine, Prices, Requests, read_prices
from pipeline.estimate.run import estimate, scale_up
from pipeline.estimate.sample_encoder import COMPARED, EncodedObject, encode_object
from pipeline.estimate.settings import EstimateSettings
from pipeline.evaluate.baseline_codecs import BaselineCodec, bytes_at
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.reading import Reading
from pipeline.images.sandbox.sandbox import shared
from pipeline.sources.open import open_source
from tests.conftest import photo_like

pytestmark = pytest.mark.slow

PRICES = Prices(
    storage={"disk": 0.02},
    requests=Requests(get=0.001, put=0.01, list=0.01),
    machines={"box": Machine(hour=0.5, cores=10)},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's 220 files: JPEG of four qualities, PNG, WebP, grey and colour, 16 bits, CMYK, one truncated."""
    root = tmp_path_factory.mktemp("mixed")
    for file in demo_files():
        path = root / file.key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    return root


@pytest.fixture(scope="module")
def encoded(folder: Path, tiny_codec: Codec) -> dict[str, EncodedObject]:
    """Every file encoded once: the truth, and the outcome in any sample."""
    source = open_source(folder)
    sandbox = shared(Limits.for_images(60.0, MAX_PIXELS, 1 << 29))
    target = Target(quality=30)
    return {
        entry.key: encode_object(entry, source, sandbox, tiny_codec, target, ())
        for entry in source.entries()
        if entry.size
    }


@pytest.mark.timeout(900)
def test_the_truth_lies_inside_the_interval_in_at_least_90_of_100_samples(
    folder: Path, encoded: dict[str, EncodedObject]
) -> None:
    entries = [entry for entry in open_source(folder).entries() if entry.size]
    truth = sum(outcome.stored for outcome in encoded.values())
    settings = EstimateSettings(source=str(folder), sample=80)
    held, widths = 0, []
    for seed in range(100):
        sample = size_weighted_sample(entries, settings.sample, random.Random(seed))
        found = scale_up(settings, sample, [encoded[e.key] for e in sample.entries], PRICES, "disk", "box")
        held += found.stored_bytes.low <= truth <= found.stored_bytes.high
        widths.append((found.stored_bytes.high - found.stored_bytes.low) / found.source_bytes)
    print(f"{held} of 100 intervals hold the truth; they are {sum(widths):.1f} % of the source wide on average")
    assert held >= 90
    assert sum(widths) / 100 < 0.35


@pytest.mark.timeout(900)
def test_the_mixed_folder_is_mixed(encoded: dict[str, EncodedObject]) -> None:
    assert {"latent", "jxl", "original"} <= {outcome.status for outcome in encoded.values()}
    assert all(0 < outcome.stored <= outcome.size for outcome in encoded.values())


def test_an_estimate_predicts_size_and_time_beside_webp_and_avif(
    folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    before = sorted(folder.rglob("*"))
    found = estimate(
        EstimateSettings(source=str(folder), model=str(tiny_model_folder), sample=20, compare=4, quality=30),
        notify=said.append,
    )
    assert sorted(folder.rglob("*")) == before
    assert found.objects == len([p for p in before if p.is_file()])
    assert found.source_bytes == sum(p.stat().st_size for p in before if p.is_file())
    assert 0 < found.stored_bytes.low < found.stored_bytes.value < found.stored_bytes.high <= found.source_bytes
    assert found.saved_bytes.value == pytest.approx(found.source_bytes - found.stored_bytes.value)
    assert set(found.rival_bytes) == {"WebP m4", "AVIF s6"}
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.core_hours.value > 0
    assert said[0].startswith(f"{found.objects:,} objects")


def test_time_and_cost_follow_from_the_prices() -> None:
    outcomes = [EncodedObject(1000, 400, "latent", 10, 0.02), EncodedObject(1000, 600, "latent", 10, 0.04)] * 5
    sample = Sample((), 2_000_000, 2 * 10**9, census=False)
    settings = EstimateSettings(source="s", machines=2)
    found = scale_up(settings, sample, outcomes, PRICES, "disk", "box")
    assert found.core_hours.value == pytest.approx(0.00003 * 2e9 / 3600)
    assert found.hours.value == pytest.approx(found.core_hours.value / (2 * 10 * 0.8))
    requests = 2_000_000 / 1000 * 0.001 + 4 * (2 + 2e9 / (64 << 20)) / 1000 * 0.01 + 2_000 / 1000 * 0.01
    assert found.cost.value == pytest.approx(found.hours.value * 2 * 0.5 + requests)
    assert found.month_now == pytest.approx(0.04)
    assert found.month_saved.value == pytest.approx(0.02)
    assert found.pays_back_months == pytest.approx(found.cost.value / 0.02)


def test_the_shipped_prices_are_a_table_that_can_be_read_and_edited(tmp_path: Path) -> None:
    shipped = read_prices("")
    assert shipped.requests.get > 0
    own = tmp_path / "prices.yaml"
    own.write_text(
        "storage: {tape: 0.001}\nrequests: {get: 0, put: 0, list: 0}\nmachines: {pi: {hour: 0.01, cores: 4}}"
    )
    assert read_prices(str(own)).machines["pi"].cores == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("storage: {tape: cheap}", "storage.tape"),
        ("storage: {tape: 1}", "requests"),
        ("a: [", "not YAML"),
        ("", "the file"),
    ],
)
def test_a_broken_price_table_is_explained_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(text)
    with pytest.raises(MaepressError, match=complaint) as mistake:
        read_prices(str(own))
    assert "\n" not in str(mistake.value)


def test_an_unknown_machine_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(MaepressError, match="the price table has s3-standard"):
        estimate(EstimateSettings(source=str(folder), storage="tape"))


@pytest.mark.parametrize("codec", COMPARED, ids=lambda codec: codec.name)
def test_another_codec_takes_more_bytes_for_more_fidelity_and_none_beyond_its_reach(
    codec: BaselineCodec,
) -> None:
    pixels = photo_like(64, 96)
    low, high = (bytes_at(codec, pixels, floor) for floor in (30.0, 38.0))
    assert low is not None
    assert high is not None
    assert low < high
    assert bytes_at(codec, pixels, 99.0) is None


def test_other_codecs_are_compared_by_the_metric_of_the_floor(tmp_path: Path, tiny_codec: Codec) -> None:
    pixels = photo_like(160, 200)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    source = open_source(str(tmp_path))
    (entry,) = source.entries()
    sandbox = shared(Limits.for_images(60.0, MAX_PIXELS, 1 << 29))
    encoded = encode_object(entry, source, sandbox, tiny_codec, Target(min_ssimulacra2=40), COMPARED)
    (latents,) = tiny_codec.analyse([Picture(pixels)], Target(min_ssimulacra2=40))
    assert encoded.status == "latent" and latents.ssimulacra2 is not None and latents.psnr is not None
    reading = sandbox.read(source.get(entry.key), max_pixels=MAX_PIXELS)
    assert isinstance(reading, Reading) and reading.picture is not None
    beside = sum(len(getattr(reading.picture, name)) for name in METADATA)  # which any codec would have to keep, too
    found = tuple(bytes_at(codec, pixels, latents.ssimulacra2, ssimulacra2) or 0 for codec in COMPARED)
    assert encoded.others == tuple(size + beside for size in found)
    assert encoded.others != tuple(bytes_at(codec, pixels, latents.psnr) for codec in COMPARED)


def test_other_codecs_have_to_store_alpha_too(tmp_path: Path, tiny_codec: Codec) -> None:
    rng = random.Random(0)
    opaque, picture = tmp_path / "opaque.png", Image.fromarray(photo_like(96, 128))
    picture.save(opaque)
    picture.putalpha(Image.frombytes("L", picture.size, rng.randbytes(96 * 128)))
    picture.save(tmp_path / "veiled.png")
    source, sandbox = open_source(tmp_path), shared(Limits.for_images(60.0, MAX_PIXELS, 1 << 29))
    without, having = (
        encode_object(entry, source, sandbox, tiny_codec, Target(quality=40), COMPARED) for entry in source.entries()
    )
    assert without.others is not None and having.others is not None
    alpha = having.stored - without.stored
    assert alpha > 96 * 128
    for size, larger in zip(without.others, having.others, strict=True):
        assert larger - size == pytest.approx(alpha, rel=0.01)
