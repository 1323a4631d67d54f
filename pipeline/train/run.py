"""Training: Ray Train starts the workers, each is one rank of a DDP group, and rank 0 keeps the best model.

    images --Crops, split over the ranks--> crops --Network under DDP--> lambda * distortion + rate
           --SOAP--> weights --moving average--> validation --> best model

This module runs in the driver; `pipeline.train.worker` runs in each rank.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.train import CheckpointConfig, FailureConfig, Result, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

from model.core.errors import MaepressError
from model.core.model_files import FILES, SHIPPED
from pipeline.archive.apart import require_no_archive
from pipeline.archive.model_name import name_from
from pipeline.archive.model_store import model_config, require_model
from pipeline.dataset.reservoir import reservoir_sample
from pipeline.dataset.split import split
from pipeline.execution.local_resources import require_cores, require_gpus
from pipeline.execution.ray_init import require_ray
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import Store, open_store, open_target
from pipeline.storage.outputs import Outputs
from pipeline.train.checkpoint import Unresumable
from pipeline.train.crops import SUFFIXES
from pipeline.train.distortion import NEW, with_distortion
from pipeline.train.notes import notes_of
from pipeline.train.progress_relay import new_board, relayed
from pipeline.train.ray_storage import ray_storage, remove
from pipeline.train.settings import TrainSettings
from pipeline.train.worker import HISTORY, LOGS, work

__all__ = ["TrainResult", "TrainSettings", "train"]

logger = logging.getLogger(__name__)
RUN = "run"
OUTPUTS = Outputs("train", (*FILES, HISTORY), (RUN, LOGS), typical=(HISTORY, b'{"step": '))
NO_FOLDER = (*SHIPPED, *NEW)
"""Values of `init` that name no model folder."""
_UNREADABLE_RUN = "CheckpointManagerInitializationError"
MS_SSIM_SIDE = 192
"""Smallest crop, a multiple of 64, that MS-SSIM's five scales fit into."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Result of a run.

    Rows of `validation` have step, minutes, loss, and at five qualities bits per pixel, PSNR and distortion.
    """

    out: str
    name: str
    fingerprint: str
    steps: int
    minutes: float
    validation: list[dict[str, float]] = field(default_factory=list)

    @property
    def improved(self) -> bool:
        """Whether a validation was better than the first, which is of the model that the run began with."""
        return not self.validation or min(self.validation, key=lambda row: row["loss"])["step"] > 0


def train(settings: TrainSettings, notify: Callable[[str], None] = logger.info) -> TrainResult:
    """Train (or adapt) a model and leave the best one, by validation loss, at `settings.out`.

    Args:
        settings: settings of the run. Without a limit it goes on until it is interrupted.
        notify: called with a line of text about the progress, every ten seconds or so.

    Raises:
        MaepressError: for contradictory settings, without usable images, or when training fails for good.
    """
    out = checked_output(settings)
    settings = with_distortion(settings)
    entries = image_entries(settings)
    train_keys, held_out = split([entry.key for entry in entries], settings.validation_share)
    init = None if settings.init in NEW else settings.init
    notes = notes_of(settings, entries, init=init)
    open_target(settings.out)
    if not settings.resume:
        forget(settings.out)
    OUTPUTS.mark(out)
    require_ray()
    board = new_board()
    gpu = settings.gpus_per_worker > 0
    trainer = _Trainer(
        work,
        train_loop_config={
            "settings": for_workers(settings).model_dump(),
            "train": train_keys,
            "held_out": held_out,
            "notes": notes,
            "board": board,
        },
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=settings.workers,
            use_gpu=gpu,
            resources_per_worker={"GPU": settings.gpus_per_worker} if gpu else {"CPU": 1},
        ),
        run_config=RunConfig(
            name=RUN,
            **ray_storage(settings.out),
            failure_config=FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    with relayed(board, notify):
        try:
            trainer.fit()
        except TrainingFailedError as e:
            raise _failure(e) from e
        except RayActorError as e:
            # Ray's controller died when it began: the list of checkpoints is damaged, or one that it names is gone.
            if _UNREADABLE_RUN not in str(e):
                raise
            why = " ".join(str(e).rpartition(f"{_UNREADABLE_RUN}:")[2].split())
            raise Unresumable(
                f"the checkpoints below {settings.out}/{RUN} cannot be read ({why}): give --no-resume to begin anew"
            ) from e
    rows = [json.loads(line) for line in out.get(HISTORY).decode().splitlines()]
    made = model_config(settings.out)
    name, last = name_from(made), rows[-1]
    return TrainResult(settings.out, name, made["fingerprint"], int(last["step"]), last["minutes"], rows)


class _Trainer(TorchTrainer):
    """Ray's trainer, which an interrupt ends as it ends other functions.

    Ray's own handler of SIGINT waits for the workers, and ends the process.
    """

    _controller: Any = None

    def _register_sigint_handler(self, controller: Any) -> None:
        self._controller = controller

    def fit(self) -> Result:
        """Train; see `TorchTrainer.fit`."""
        try:
            return super().fit()
        except KeyboardInterrupt:
            if self._controller is not None:
                ray.kill(self._controller)  # and with it the workers, which would go on
            raise


def checked_output(settings: TrainSettings) -> Store:
    """The store of the model, if a training may begin: takes seconds, and needs no Ray.

    Raises:
        MaepressError: for contradictory settings, an `init` that is no model, and an `out` that lies
            in the images, cannot be written, or holds something else than an earlier training.
    """
    require_sound(settings)
    if settings.gpus_per_worker:
        require_gpus(settings.gpus_per_worker, "--gpus-per-worker", users=settings.workers)
    else:
        require_cores(settings.workers, "--workers")
    out = open_store(settings.out)
    require_no_archive(out, "the output folder")
    OUTPUTS.require_free(settings.images, out, overwrite=settings.overwrite)
    out.check_target()
    return out


def require_sound(settings: TrainSettings) -> None:
    """Check that settings fit each other and the model that they start from.

    Raises:
        MaepressError: one line, when they do not, or `init` is no model.
    """
    if settings.min_scale > settings.max_scale:
        raise MaepressError(f"--min-scale {settings.min_scale} is above --max-scale {settings.max_scale}: swap them")
    if settings.batch % settings.workers:
        fits = max(1, settings.batch // settings.workers) * settings.workers
        raise MaepressError(
            f"--batch {settings.batch} cannot be split evenly over {settings.workers} workers: give --batch {fits}"
        )
    if settings.width and settings.init not in NEW:
        raise MaepressError(f"--width needs --init scratch: the model {settings.init} has its widths")
    if settings.init not in NO_FOLDER:
        require_model(settings.init)
    if with_distortion(settings).distortion == "ms-ssim" and settings.crop < MS_SSIM_SIDE:
        raise MaepressError(f"MS-SSIM needs larger crops: give --crop {MS_SSIM_SIDE}")


def for_workers(settings: TrainSettings) -> TrainSettings:
    """The settings with absolute local paths: Ray's workers may have a working directory of their own."""

    def absolute(url: str) -> str:
        return url if "://" in url or url in NO_FOLDER else os.path.abspath(os.path.expanduser(url))

    names = ("images", "out", "init")
    return settings.model_copy(update={name: absolute(getattr(settings, name)) for name in names})


def forget(out: str) -> None:
    """Remove an earlier run's checkpoints, history and logs; its model stays until a better one replaces it."""
    for name in (RUN, HISTORY, LOGS):
        remove(f"{out}/{name}")


def _failure(error: TrainingFailedError) -> MaepressError:
    """What a run that failed for good is answered with."""
    hopeless = next((e for e in _causes(error) if isinstance(e, Unresumable)), None)
    return hopeless or MaepressError(
        f"training failed ({cause(error)}): the same command resumes from the last checkpoint"
    )


def cause(error: TrainingFailedError) -> str:
    """The error that ended a run, in one line.

    When one rank fails, others may report that they lost it, so a `MaepressError` of any rank comes
    before the error of the lowest rank.
    """
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, MaepressError):
            return str(cause)
    first = next(iter(str(causes[0]).strip().splitlines()), "")
    return f"{type(causes[0]).__name__}: {first}" if first else type(causes[0]).__name__


def _causes(error: TrainingFailedError) -> list[BaseException]:
    """The errors that ended a run, those of its ranks in their order."""
    failures: list[BaseException] = [error]
    if isinstance(error, WorkerGroupError) and error.worker_failures:
        failures = [error.worker_failures[rank] for rank in sorted(error.worker_failures)]
    elif isinstance(error, ControllerError):
        failures = [error.controller_failure]
    return [e.cause if isinstance(e, RayTaskError) else e for e in failures]


def image_entries(settings: TrainSettings) -> list[Entry]:
    """The images, sorted by key; a random sample of `max_images` if there are more.

    Raises:
        MaepressError: for fewer than two.
    """
    listing = SourceListing(open_source(settings.images), settings.globs())
    entries = (e for e in listing if e.key.lower().endswith(SUFFIXES))
    sample, _ = reservoir_sample(entries, settings.max_images, settings.seed)
    if len(sample) < 2:
        raise MaepressError(
            f"{settings.images} holds {len(sample)} image files ({', '.join(SUFFIXES)}): training needs at least two"
        )
    return sample
