"""Model adaptation: only a better model is used, and no trial runs too early."""

import json
from pathlib import Path
from typing import Any

import pytest

from model import checkpoint
from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.sync.model_adaptation import NIGHT_SECONDS, RECORD, compare, last_trial
from pipeline.sync.run import SyncResult, SyncSettings, sync
from tests.pipeline.sources import encoded, photo, put_all

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(240)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    put_all(str(tmp_path / "source"), {f"{i}.png": encoded(photo(i, 160, 170), "PNG") for i in range(8)})
    return tmp_path / "source"


def run(source: Path, archive: Path, model: Path, **settings: Any) -> SyncResult:
    folders = {"source": str(source), "archive": str(archive), "model": str(model)}
    defaults = {"adapt_nights": 3, "adapt_minutes": 0.3, "adapt_margin": 0.01, "adapt_workers": 1, "actors": "1:1"}
    return sync(SyncSettings(**(folders | defaults | settings)), quiet=True)


def models_of(archive: Path) -> set[str]:
    return {r["model"] for b in Archive.open(str(archive)).scan(["model"]) for r in b.to_pylist() if r["model"]}


def days_pass(archive: Path, days: float) -> None:
    note = json.loads((archive / RECORD).read_text())
    (archive / RECORD).write_text(json.dumps(note | {"at": note["at"] - days * NIGHT_SECONDS}))


@pytest.mark.slow
def test_a_model_that_wins_compresses_until_its_time_is_over_and_renews_what_the_old_one_compressed(
    source: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    archive, configured = tmp_path / "archive", Codec.load(tiny_model_folder).fingerprint
    run(source, archive, tiny_model_folder, adapt_nights=0)
    assert models_of(archive) == {configured}
    first = run(source, archive, tiny_model_folder, repress=True)
    assert first.adapted is not None and first.adapted.won and first.adapted.bd_rate < -1
    assert first.adapted.before == configured
    assert models_of(archive) == {first.adapted.candidate}
    assert sorted(path.name for path in (archive / "models").iterdir()) == sorted([configured, first.adapted.candidate])
    assert not (archive / "adapting").exists()

    days_pass(archive, 2)
    put_all(str(source), {"new.png": encoded(photo(99, 160, 170), "PNG")})
    second = run(source, archive, tiny_model_folder)
    assert second.adapted is None
    assert models_of(archive) == {first.adapted.candidate} and second.plan.new == 1

    days_pass(archive, 1)
    third = run(source, archive, tiny_model_folder)
    assert third.adapted is not None and third.adapted.before == first.adapted.candidate


@pytest.mark.slow
def test_a_model_that_does_not_win_by_the_margin_is_not_used_nor_kept(
    source: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    archive, configured = tmp_path / "archive", Codec.load(tiny_model_folder).fingerprint
    result = run(source, archive, tiny_model_folder, adapt_margin=0.95)
    assert result.adapted is not None and not result.adapted.won
    assert result.adapted.current == configured and f"{configured} stays" in result.adapted.described()
    assert models_of(archive) == {configured}
    assert [path.name for path in (archive / "models").iterdir()] == [configured]
    assert run(source, archive, tiny_model_folder, dry_run=True).plan.objects == 0


def test_a_note_about_another_configured_model_does_not_count_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    note = {"configured": "a", "before": "a", "candidate": "b", "bd_rate": -9.0, "won": True, "at": 0.0}
    archive.root.put(RECORD, json.dumps(note | {"curves": [[[1.0, 30.0]], [[0.9, 30.0]]]}).encode())
    found = last_trial(archive.root, "a")
    assert found is not None and found.current == "b"
    assert last_trial(archive.root, "c") is None
    archive.root.put(RECORD, b'{"configured": "a"}')
    with pytest.raises(MaepressError, match=r"adapted\.json is damaged .*: remove it"):
        last_trial(archive.root, "a")


@pytest.mark.parametrize(("distortion", "equal"), [("mse", "PSNR"), ("perceptual", "perceptual distortion")])
def test_models_are_compared_by_what_they_were_trained_for(
    distortion: str, equal: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    network = checkpoint.load(tiny_model_folder).network
    for name, data in checkpoint.serialise(network, {"distortion": distortion}).items():
        (tmp_path / name).write_bytes(data)
    rates = {7: 0.1, 20: 0.3, 32: 0.8}
    before = {f"bpp/{q}": r for q, r in rates.items()} | {f"psnr/{q}": 30 + 5 * r for q, r in rates.items()}
    before |= {f"distortion/{q}": 0.1 / r for q, r in rates.items()} | {"loss": 7.0}
    # 10 % fewer bits at equal distortion; by PSNR it is worse
    after = (
        before | {f"bpp/{q}": 0.9 * r for q, r in rates.items()} | {f"psnr/{q}": 29 + 5 * r for q, r in rates.items()}
    )
    settings = SyncSettings(source="s", archive="a", model=str(tmp_path), adapt_margin=0.05)
    trial = compare("a", "a", "b", [before, after | {"loss": 6.9}], settings)
    assert trial.won == (distortion == "perceptual")
    assert f"at equal {equal}" in trial.described()
    if trial.won:
        assert trial.bd_rate == pytest.approx(-10, abs=0.01)
