"""Tuning: finds training settings by random search over short trainings, most of which are stopped early.

    random settings --train, one trial each--> validation loss --ASHA stops the worse two of three--> best.yaml

Trials have equal minutes, not equal steps: settings that learn more per step may be slower. The
learning rate decays over the length of a trial, so that each is a complete, small training.
Asynchronous successive halving: Li et al., "A system for massively parallel hyperparameter tuning",
2020. Ray Tune runs as many trials at once as there are cores (or GPUs).
"""

import csv
import functools
import io
import os
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from typing import Any

import torch
import yaml
from ray import tune
from ray.exceptions import RayTaskError
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator

from model.core.boundary import reason_of
from model.core.errors import MaepressError
from model.core.extras import remedy
from pipeline.archive.apart import require_no_archive
from pipeline.dataset.split import split
from pipeline.execution.device import own_device
from pipeline.execution.local_resources import require_gpus
from pipeline.execution.ray_init import require_ray
from pipeline.images.limits import READABLE_BYTES
from pipeline.sources.open import source_at
from pipeline.storage.open import Store, open_store, open_target
from pipeline.storage.outputs import Outputs
from pipeline.train.crops import Crops
from pipeline.train.distortion import with_distortion
from pipeline.train.learner import Learner
from pipeline.train.ray_storage import ray_storage
from pipeline.train.run import TrainSettings, for_workers, image_entries, require_sound
from pipeline.train.validation import Validation
from pipeline.train.worker import start_network
from pipeline.tune.settings import TuneSettings, bounds, choices

__all__ = ["TuneResult", "TuneSettings", "TuningTrial", "tune_training"]

REPORTS = 9
"""Validations of a trial, evenly over its minutes; ASHA compares at the first, the third and the last."""
SURVIVORS = 3
"""One in this number of trials continues after each comparison."""
TABLE, BEST, LOGS = "trials.csv", "best.yaml", "trials"
OUTPUTS = Outputs("tune", (TABLE, BEST), (LOGS,), typical=(BEST, b"# Best of "))


@dataclass(frozen=True, slots=True)
class TuningTrial:
    """Settings that were tried, and their result.

    Attributes:
        drawn: the settings in which trials differ.
        loss: last validation loss.
        minutes: minutes of training.
        steps: number of steps.
        ended_early: whether it was stopped because others were better.
    """

    drawn: dict[str, float]
    loss: float
    minutes: float
    steps: int
    ended_early: bool


@dataclass(frozen=True, slots=True)
class TuneResult:
    """All trials, complete ones first, then by loss; and the best trial's settings by name."""

    trials: tuple[TuningTrial, ...]
    best: dict[str, Any]

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return {"trials": [asdict(trial) for trial in self.trials], "best": self.best}


def tune_training(settings: TuneSettings, notify: Callable[[str], None]) -> TuneResult:
    """Try settings, and write the table of trials and the best configuration to `settings.out`.

    Uses the connected Ray cluster, or starts Ray.

    Args:
        settings: ranges of the settings to try, and the length of a trial.
        notify: called with a line of text for each validation of each trial.

    Raises:
        MaepressError: without usable images, or if no trial completed.
    """
    out = checked_output(settings)
    open_target(settings.out)
    base = _common(settings)
    keys = split([entry.key for entry in image_entries(base)], base.validation_share)
    start_network(base)  # so that a wrong `init` fails here, not in every trial
    OUTPUTS.mark(out)
    require_ray()
    found, error = _run(settings, base, keys, notify)
    trials = sorted(found, key=lambda trial: (trial.ended_early, trial.loss))
    if not trials or trials[0].ended_early:
        why = f" ({_cause(error)})" if error is not None else ""
        raise MaepressError(f"no trial completed{why}: see {settings.out}/{LOGS} for the errors")
    best = {name: int(v) if float(v).is_integer() else v for name, v in trials[0].drawn.items()}
    chosen = base.model_dump(include={"images", "init", "min_scale", "max_scale"}) | best
    globs = base.model_dump(include={"include", "exclude"})
    chosen |= {name: list(value) for name, value in globs.items() if value}
    head = f"# Best of {len(trials)} trials of {settings.minutes:g} minutes: validation loss {trials[0].loss:.4f}.\n"
    out.put(TABLE, _table(trials).encode())
    out.put(BEST, (head + yaml.safe_dump(chosen, sort_keys=False)).encode())
    return TuneResult(tuple(trials), chosen)


def checked_output(settings: TuneSettings) -> Store:
    """The store of the results, if a tuning may begin: takes seconds, and needs no Ray.

    Raises:
        MaepressError: for contradictory settings, an `init` that is no model, and an `out` that lies in the
            images, cannot be written, or holds something else than an earlier tuning.
    """
    require_gpus(settings.gpus_per_trial, "--gpus-per-trial")
    narrowest = {"crop": min(choices(settings.crop)), "width": next(iter(choices(settings.width)), None)}
    require_sound(_common(settings).model_copy(update=narrowest))
    out = open_store(settings.out)
    require_no_archive(out, "the output folder")
    OUTPUTS.require_free(settings.images, out, overwrite=settings.overwrite)
    out.check_target()
    return out


def _common(settings: TuneSettings) -> TrainSettings:
    """The settings that all trials share."""
    names = {"images", "include", "exclude", "out", "init", "min_scale", "max_scale", "max_images", "seed"}
    return with_distortion(TrainSettings(**settings.model_dump(include=names), workers=1))


def _space(settings: TuneSettings) -> dict[str, Any]:
    lists = {"batch": settings.batch, "crop": settings.crop, "width": settings.width}
    space = {name: tune.choice(choices(text)) for name, text in lists.items() if text}
    return space | {"learning_rate": tune.loguniform(*bounds(settings.learning_rate))}


def _run(
    settings: TuneSettings, base: TrainSettings, keys: tuple[list[str], list[str]], notify: Callable[[str], None]
) -> tuple[list[TuningTrial], BaseException | None]:
    """The trials that reported something, and an error of one that failed."""
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # it would take an interrupt for the end of a complete tuning
    resources = {"gpu": settings.gpus_per_trial} if settings.gpus_per_trial else {"cpu": 1.0}
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trial, base=for_workers(base).model_dump(), keys=keys, minutes=settings.minutes),
            resources,
        ),
        param_space=_space(settings),
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=settings.trials,
            scheduler=ASHAScheduler(max_t=REPORTS, grace_period=1, reduction_factor=SURVIVORS),
            search_alg=BasicVariantGenerator(random_state=settings.seed),
        ),
        run_config=tune.RunConfig(
            name=LOGS,
            **ray_storage(settings.out),
            callbacks=[_Notifier(notify), *_loggers(settings)],
            verbose=0,
        ),
    )
    with redirect_stdout(io.StringIO()):  # Ray prints a banner there however silent it is told to be
        results = tuner.fit()
    trials = [
        TuningTrial(
            dict(result.config),
            result.metrics["loss"],
            result.metrics["minutes"],
            result.metrics["steps"],
            result.metrics["training_iteration"] < REPORTS,
        )
        for result in (results[i] for i in range(len(results)))
        if result.metrics and "loss" in result.metrics and result.config
    ]
    return trials, next(iter(results.errors), None)


def _cause(error: BaseException) -> str:
    """The reason of an error that Ray may have wrapped, in one line."""
    inner = error.cause if isinstance(error, RayTaskError) else error
    return reason_of(inner) if isinstance(inner, Exception) else type(inner).__name__


class _Notifier(tune.Callback):
    """Calls `notify` with a line for each validation."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self._notify = notify

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        drawn = ", ".join(f"{name} {value:.3g}" for name, value in sorted(result["config"].items()))
        self._notify(
            f"trial {trial.trial_id[-5:]} ({drawn}), minute {result['minutes']:.1f}: loss {result['loss']:.4f}"
        )


def _loggers(settings: TuneSettings) -> Sequence[tune.Callback]:
    """Loggers that Ray Tune does not add by default."""
    if settings.log == "tensorboard":
        return ()
    try:
        import wandb  # noqa: F401
    except ImportError:
        raise MaepressError(f"--log wandb needs that package: {remedy('wandb')}") from None
    from ray.air.integrations.wandb import WandbLoggerCallback

    return (WandbLoggerCallback(project="maepress"),)


def _trial(config: dict[str, Any], base: dict[str, Any], keys: tuple[list[str], list[str]], minutes: float) -> None:
    """One short training, in a process of its own."""
    settings = TrainSettings(**(base | config))
    assert settings.distortion is not None  # the driver stated it
    device = torch.device(own_device())
    if device.type == "cpu":
        torch.set_num_threads(1)
    learner = Learner(
        start_network(settings).to(device),
        peak=settings.learning_rate,
        decay_share=settings.decay_share,
        distortion=settings.distortion,
        seed=settings.seed,
    )
    fetch = functools.partial(source_at(settings.images).get, max_bytes=READABLE_BYTES)
    scales = (settings.min_scale, settings.max_scale)
    crops = Crops(
        keys[0],
        fetch,
        batch=settings.batch,
        places=range(settings.batch),
        crop=settings.crop,
        scales=scales,
        seed=[settings.seed],
    )
    validation = Validation(keys[1], fetch, 0, 1, device, sum(scales) / 2, settings.distortion)
    started = time.monotonic()
    for report in range(1, REPORTS + 1):
        while (spent := (time.monotonic() - started) / 60 / minutes) < report / REPORTS:
            learner.step(crops.next().to(device), spent)
        metrics = validation.measure(learner.average)
        tune.report(metrics | {"minutes": spent * minutes, "steps": learner.counters.step})


def _table(trials: Sequence[TuningTrial]) -> str:
    file = io.StringIO()
    rows = [trial.drawn | {k: v for k, v in asdict(trial).items() if k != "drawn"} for trial in trials]
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
