"""What commands say of small and of ordinary results."""

from pathlib import Path

import pytest

from jobs.cli import main
from jobs.commands.estimate import in_words
from pipeline.archive.archive import Archive
from pipeline.estimate.byte_sampling import Sample
from pipeline.estimate.prices import read_prices
from pipeline.estimate.run import EstimateResult, scale_up
from pipeline.estimate.sample_encoder import EncodedObject
from pipeline.estimate.settings import EstimateSettings
from pipeline.train.run import TrainResult
from tests.pipeline.making import add, original

GAPS = 4


def estimated(source_bytes: int) -> EstimateResult:
    encoded = [EncodedObject(1000, 400, "latent", 10, 0.02, others=(500, 450)) for _ in range(20)]
    encoded += [EncodedObject(1000, 600, "latent", 10, 0.05, others=(800, 550)) for _ in range(20)]
    sample = Sample((), source_bytes // 1000, source_bytes, census=False)
    prices = read_prices("")
    return scale_up(EstimateSettings(source="s"), sample, encoded, prices, "s3-standard", next(iter(prices.machines)))


@pytest.mark.parametrize("source_bytes", [10**6, 10**9, 10**13])
def test_an_estimate_fits_a_terminal_of_80_columns(source_bytes: int) -> None:
    rows = in_words(estimated(source_bytes))
    widths = [max(len(str(row[i] or "")) for row in rows) for i in range(3)]
    assert sum(widths) + GAPS <= 80, widths


def test_amounts_too_small_to_pay_are_not_written_with_six_digits() -> None:
    rows = {str(row[0]): row[1] for row in in_words(estimated(10**6))}
    assert rows["cost, once"] == rows["saved per month"] == "under 0.01 dollars"
    assert rows["work, on one core"] == "35 s"


def test_a_restore_that_changes_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive.create(str(tmp_path))
    add(archive, [original("a")], run="one")
    assert main(["restore", str(tmp_path), "1"]) == 0
    assert capsys.readouterr().out == "version 1 is the current one already: 1 image in 1 shard\n"
    add(archive, [original("b")], run="two")
    assert main(["restore", str(tmp_path), "1"]) == 0
    assert "version 3 now equals version 1: 1 image in 1 shard" in capsys.readouterr().out


def test_a_training_that_found_nothing_better_is_told() -> None:
    rows = [{"step": step, "minutes": 0.0, "loss": loss} for step, loss in ((0, 2.1), (50, 2.4), (90, 2.2))]
    assert not TrainResult("m", "m", "0" * 16, 90, 0.5, rows).improved
    assert TrainResult("m", "m", "0" * 16, 90, 0.5, [*rows, {"step": 99, "minutes": 1.0, "loss": 2.0}]).improved
