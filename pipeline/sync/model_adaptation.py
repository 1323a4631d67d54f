"""Adapting in the night: a sync may let the codec learn from its source first, and goes on with what won.

    current model --train on the source--> candidate --held-out images--> BD-rate --wins by the margin?--> current model

Held-out images are those that training never sees, by hash of key (`pipeline.dataset.split.split`);
both models were measured on them in the same run. What was tried, and which model is the current
one, stands in `adapted.json` beside the archive's tables; a model that won lives in `models/` like
any other that presses rows. A killed trial leaves the old state.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.lease import Lease
from pipeline.archive.model_store import local_model
from pipeline.archive.run_id import new_run
from pipeline.evaluate.bd_rate import Curve, bd_rate
from pipeline.storage.base import Store
from pipeline.sync.settings import SyncSettings
from pipeline.train.ray_storage import remove
from pipeline.train.run import TrainSettings, train

NOTE, WORKSHOP = "adapted.json", "adapting"
NIGHT = 86400.0
EARLY = 0.5
"""Nights by which a trial may come before its time: schedules are not punctual."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of adapting.

    Attributes:
        configured: fingerprint of the model that the settings name; a note for another one does not count.
        before: fingerprint of the model that was the current one.
        candidate: fingerprint of the model that was learned.
        bd_rate: rate of the candidate beyond the other at equal PSNR on the held-out images, in percent.
        won: whether the candidate became the current one.
        at: when, in seconds since 1970.
        curves: points (bits a pixel, PSNR in dB) of both on the held-out images, the older one first.
    """

    configured: str
    before: str
    candidate: str
    bd_rate: float
    won: bool
    at: float
    curves: tuple[Curve, Curve]

    @property
    def current(self) -> str:
        """Fingerprint of the model to press with from now on."""
        return self.candidate if self.won else self.before

    def described(self) -> str:
        """In a line."""
        verdict = "is used from now on" if self.won else f"did not win by the margin: {self.before} stays"
        return f"adapting: model {self.candidate} needs {self.bd_rate:+.1f} % rate on held-out images; it {verdict}"


def tonights_model(settings: SyncSettings, *, quiet: bool = False) -> tuple[str, Trial | None]:
    """The model that a sync presses with: the last one that won, or the one that the settings name.

    When the last trial is the set number of nights ago, another comes first: training for the set minutes, the note
    last. A dry run tries nothing.

    Args:
        settings: of the sync.
        quiet: say nothing of the training.

    Returns:
        its URL, and what came of a trial; None when it was not due.

    Raises:
        MaepressError: when training fails for good, or another sync holds the archive.
    """
    if not settings.adapt_nights:
        return settings.model, None
    archive = Archive(settings.archive)
    configured = Codec.load(local_model(settings.model)).fingerprint
    last = last_trial(archive.root, configured)
    model = settings.model
    if last and last.current != configured:
        model = archive.root.child(f"models/{last.current}").absolute_url
    if settings.dry_run or (last and time.time() - last.at < (settings.adapt_nights - EARLY) * NIGHT):
        return model, None
    trial = _try(settings, model, configured, last.current if last else configured, quiet=quiet)
    return (archive.root.child(f"models/{trial.candidate}").absolute_url if trial.won else model), trial


def _try(settings: SyncSettings, model: str, configured: str, before: str, *, quiet: bool) -> Trial:
    """Train from a model, judge, and write the note."""
    archive = Archive.create(settings.archive)
    with Lease(archive.root, new_run(), "sync"):
        workshop = archive.root.child(WORKSHOP).absolute_url
        remove(workshop)  # of a trial that was killed
        result = train(
            TrainSettings(
                images=settings.source,
                out=workshop,
                init=model,
                max_minutes=settings.adapt_minutes,
                workers=settings.adapt_workers,
                gpus_per_worker=settings.gpus_per_actor or 0.0,
                resume=False,
            ),
            *((lambda line: None,) if quiet else ()),
        )
        trial = _judged(configured, before, result.fingerprint, result.validation, settings)
        if trial.won:
            archive.put_model(trial.candidate, local_model(workshop))
        archive.root.put(NOTE, json.dumps(asdict(trial), indent=1).encode())
        remove(workshop)
    return trial


def last_trial(root: Store, configured: str) -> Trial | None:
    """What the note says, if it is about the model that the settings name."""
    if not root.exists(NOTE):
        return None
    try:
        values = json.loads(root.get(NOTE))
        old, new = ([(float(bpp), float(psnr)) for bpp, psnr in curve] for curve in values.pop("curves"))
        trial = Trial(**values, curves=(old, new))
    except (ValueError, TypeError, KeyError) as e:
        raise MaepressError(f"{root.url}/{NOTE} is damaged ({e}): remove it, and the next sync begins anew") from None
    return trial if trial.configured == configured else None


def _judged(
    configured: str, before: str, candidate: str, validation: Sequence[dict[str, float]], settings: SyncSettings
) -> Trial:
    first, best = validation[0], min(validation, key=lambda row: row["loss"])
    curves = (_curve(first), _curve(best))
    gain = bd_rate(*curves) if best is not first else 0.0
    won = gain <= -100 * settings.adapt_margin
    return Trial(configured, before, candidate, gain, won, time.time(), curves)


def _curve(row: dict[str, float]) -> list[tuple[float, float]]:
    return [(row[name], row[f"psnr/{name.removeprefix('bpp/')}"]) for name in row if name.startswith("bpp/")]
