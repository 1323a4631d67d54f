"""Model adaptation: a sync may train the codec on its source and switch to a better model.

    current model --train on the source--> candidate --BD-rate on held-out images--> better by the margin?
                                                             yes: the candidate becomes the current model

Held-out images are chosen by a hash of their keys (`pipeline.dataset.split.split`); training never
sees them, and one run measures both models on them. `adapted.json` beside the archive's tables
records the last trial and with it the current model; a candidate that wins is stored in `models/`
like every other model. The record is written last, so a trial that is killed changes nothing.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from model.core.errors import MaepressError
from model.core.model_files import claimed_fingerprint, distortion_of
from pipeline.archive.apart import WORK_FOLDER
from pipeline.archive.archive import Archive
from pipeline.archive.model_name import name_for
from pipeline.archive.model_store import local_model, model_config
from pipeline.evaluate.bd_rate import Curve, bd_rate
from pipeline.runs.lease import Lease
from pipeline.runs.name import new_run
from pipeline.storage.base import Store
from pipeline.sync.settings import SyncSettings

RECORD = "adapted.json"
_MOST_BYTES = 1 << 20
NIGHT_SECONDS = 86400.0
EARLY_NIGHTS = 0.5
"""Nights by which a trial may come early, as schedules are not punctual."""


@dataclass(frozen=True, slots=True)
class AdaptationTrial:
    """The result of one trial of adapting the model.

    Attributes:
        configured: fingerprint of the model in the settings; a record made for another one is
            ignored.
        before: fingerprint of the model that was current before the trial.
        candidate: fingerprint of the trained model.
        bd_rate: additional rate of the candidate at equal fidelity on the held-out images, in
            percent; negative is better.
        won: whether the candidate became the current model.
        at: time of the trial, in seconds since 1970.
        curves: points (bits per pixel, fidelity in dB) of both models on the held-out images, the
            older model first.
        distortion: what the configured model was trained for, and so what fidelity means: "mse" for
            PSNR, "perceptual" for the perceptual distortion as -10 log10.
    """

    configured: str
    before: str
    candidate: str
    bd_rate: float
    won: bool
    at: float
    curves: tuple[Curve, Curve]
    distortion: Literal["mse", "perceptual"] = "mse"

    @property
    def current(self) -> str:
        """Fingerprint of the current model after the trial."""
        return self.candidate if self.won else self.before

    def described(self) -> str:
        """The result in one line."""
        verdict = "is used from now on" if self.won else f"is not better by the margin: {self.before} stays"
        equal = "perceptual distortion" if self.distortion == "perceptual" else "PSNR"
        rate = f"{self.bd_rate:+.1f} % rate at equal {equal} on held-out images"
        return f"adaptation: model {self.candidate} needs {rate}; it {verdict}"


def choose_model(settings: SyncSettings, *, quiet: bool = False) -> tuple[str, AdaptationTrial | None]:
    """The model that a sync compresses with: the last trial's winner, or the one in the settings.

    If the last trial was `adapt_nights` nights ago, a new one runs first, and trains for
    `adapt_minutes`. A dry run never starts a trial.

    Args:
        settings: of the sync.
        quiet: do not report the progress of training.

    Returns:
        The model's URL, and the trial's result, None when no trial was due.

    Raises:
        MaepressError: when training fails, or another sync holds the archive's lease.
    """
    if not settings.adapt_nights:
        return settings.model, None
    archive = Archive(settings.archive)
    configured = claimed_fingerprint(local_model(settings.model))
    last = last_trial(archive.root, configured)
    model = settings.model
    if last and last.current != configured:
        model = archive.root.child(f"models/{last.current}").absolute_url
    if settings.dry_run or (last and time.time() - last.at < (settings.adapt_nights - EARLY_NIGHTS) * NIGHT_SECONDS):
        return model, None
    trial = _run_trial(settings, model, configured, last.current if last else configured, quiet=quiet)
    return (archive.root.child(f"models/{trial.candidate}").absolute_url if trial.won else model), trial


def _run_trial(settings: SyncSettings, model: str, configured: str, before: str, *, quiet: bool) -> AdaptationTrial:
    """Train on from `model`, compare, and write the record."""
    from pipeline.train.ray_storage import remove  # imports Ray and torch, which nights without a trial do without
    from pipeline.train.run import TrainSettings, train

    archive = Archive.create(settings.archive)
    with Lease(archive.root, new_run(), "sync"):
        folder = archive.root.child(WORK_FOLDER).absolute_url
        remove(folder)  # left by a trial that was killed
        result = train(
            TrainSettings(
                images=settings.source,
                include=settings.include,
                exclude=settings.exclude,
                out=folder,
                init=model,
                name=name_for(settings.source),
                max_minutes=settings.adapt_minutes,
                workers=settings.adapt_workers,
                gpus_per_worker=settings.gpus_per_actor or 0.0,
                resume=False,
            ),
            *((lambda line: None,) if quiet else ()),
        )
        trial = compare(configured, before, result.fingerprint, result.validation, settings)
        if trial.won:
            archive.put_model(trial.candidate, local_model(folder))
        archive.root.put(RECORD, json.dumps(asdict(trial), indent=1).encode())
        remove(folder)
    return trial


def last_trial(root: Store, configured: str) -> AdaptationTrial | None:
    """The recorded trial, None if there is none for the model `configured`.

    Raises:
        MaepressError: when the record is damaged.
    """
    if not root.exists(RECORD):
        return None
    try:
        values = json.loads(root.get(RECORD, _MOST_BYTES))
        old, new = ([(float(bpp), float(psnr)) for bpp, psnr in curve] for curve in values.pop("curves"))
        trial = AdaptationTrial(**values, curves=(old, new))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as e:
        raise MaepressError(
            f"{root.url}/{RECORD} is damaged ({e}): remove it, and the next sync starts from the configured model"
        ) from None
    return trial if trial.configured == configured else None


def compare(
    configured: str, before: str, candidate: str, validation: Sequence[dict[str, float]], settings: SyncSettings
) -> AdaptationTrial:
    """The result of a training, by the fidelity that the configured model was trained for.

    Args:
        configured: fingerprint of the model in the settings.
        before: fingerprint of the current model, from which the training began.
        candidate: fingerprint of the trained model.
        validation: the training's validations, of the current model first.
        settings: of the sync.
    """
    first, best = validation[0], min(validation, key=lambda row: row["loss"])
    distortion = distortion_of(model_config(settings.model))
    fidelity = _perceptual_fidelity if distortion == "perceptual" else _psnr
    qualities = [name.removeprefix("bpp/") for name in first if name.startswith("bpp/")]
    old, new = ([(row[f"bpp/{q}"], fidelity(row, q)) for q in qualities] for row in (first, best))
    gain = bd_rate(old, new) if best is not first else 0.0
    won = gain <= -100 * settings.adapt_margin
    return AdaptationTrial(configured, before, candidate, gain, won, time.time(), (old, new), distortion)


def _psnr(row: dict[str, float], quality: str) -> float:
    return row[f"psnr/{quality}"]


def _perceptual_fidelity(row: dict[str, float], quality: str) -> float:
    return -10 * math.log10(max(row[f"distortion/{quality}"], 1e-9))
