"""One rank of a training run, a Ray Train worker."""

import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint
from ray.train.torch import get_device
from torch.nn.parallel import DistributedDataParallel

from model import checkpoint
from model.core.boundary import Fault, attempt
from model.core.config import CodecConfig
from model.core.cores import cores
from model.core.errors import MaepressError
from model.network.net2net import deepened
from model.network.network import Network, randomly_initialised
from pipeline.archive.model_store import local_model
from pipeline.images.limits import READABLE_BYTES
from pipeline.sources.open import source_at
from pipeline.train.checkpoint import Unresumable
from pipeline.train.crops import Crops
from pipeline.train.crops_ahead import CropsAhead
from pipeline.train.learner import Learner
from pipeline.train.recorder import HISTORY, LOGS, Recorder
from pipeline.train.settings import TrainSettings
from pipeline.train.validation import Validation

__all__ = ["HISTORY", "LOGS", "work"]

LOG_EVERY = 50
"""Steps between two entries of the training log."""


def start_network(settings: TrainSettings) -> Network:
    """The network that training starts from."""
    torch.manual_seed(settings.seed)
    return deepened(_initial(settings), settings.deepen, settings.deepen)


def _initial(settings: TrainSettings) -> Network:
    if settings.init == "random":
        return randomly_initialised(_config(settings.width))
    if settings.init == "scratch":
        return Network(_config(settings.width))
    return checkpoint.load(local_model(settings.init)).network


def _config(width: int | None) -> CodecConfig:
    """The standard widths, or others in the same proportion between the two halves of the transforms."""
    return CodecConfig() if width is None else CodecConfig(patch_channels=width, latent_channels=5 * width // 4 * 2)


def work(config: dict[str, Any]) -> None:
    """Entry point of a Ray Train worker: one rank, from the last checkpoint (if any) to the end of the run."""
    Rank(config).run()


class Rank:
    """One rank: trains on its share of every batch and validates on its share of the images; rank 0 also records."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.settings = settings = TrainSettings(**config["settings"])
        assert settings.distortion is not None  # the driver stated it
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = get_device()
        if self.device.type == "cpu":
            torch.set_num_threads(max(1, cores() // context.get_local_world_size()))
        self.learner = Learner(
            start_network(settings).to(self.device),
            peak=settings.learning_rate,
            decay_share=settings.decay_share,
            distortion=settings.distortion,
            hide=settings.hide,
            seed=settings.seed,
            rank=self.rank,
            world=self.world,
        )
        if (previous := ray.train.get_checkpoint()) is not None:
            # Each rank makes its own copy: `as_directory` shares one, which another rank may still be writing.
            with tempfile.TemporaryDirectory() as folder:
                previous.to_directory(folder)
                self._resume(Path(folder))
        self.counters = self.learner.counters
        if self.world > 1:
            self.learner.forward = DistributedDataParallel(self.learner.network)
        fetch = functools.partial(source_at(settings.images).get, max_bytes=READABLE_BYTES)
        scales = (settings.min_scale, settings.max_scale)
        share = settings.batch // self.world
        self.crops = Crops(
            config["train"],
            fetch,
            batch=settings.batch,
            places=range(self.rank * share, (self.rank + 1) * share),
            crop=settings.crop,
            scales=scales,
            seed=[settings.seed, self.counters.step],
        )
        self.validation = Validation(
            config["held_out"], fetch, self.rank, self.world, self.device, sum(scales) / 2, settings.distortion
        )
        self.recorder = Recorder(settings, self.counters, config["board"], config["notes"]) if self.rank == 0 else None

    def _resume(self, folder: Path) -> None:
        fault = attempt(lambda: self.learner.load(folder))
        if isinstance(fault, Fault):
            if fault.machine:
                raise MaepressError(fault.reason)
            raise Unresumable(
                f"the checkpoint below {self.settings.out}/run is damaged or of another network ({fault.reason}): "
                "give --no-resume to begin anew, or another --out"
            )

    def run(self) -> None:
        """Train, with a validation and a checkpoint at the start, every few minutes and at the end."""
        before, started = self.counters.seconds, time.monotonic()
        pause = 60 * self.settings.validate_minutes
        next_validation = 0.0 if self.counters.step == 0 else before + pause
        with CropsAhead(self.crops.next) as crops:
            while True:
                self.counters.seconds = before + time.monotonic() - started
                progress, due = self._agreed(next_validation)
                if due:
                    self._validate()
                    next_validation = before + time.monotonic() - started + pause
                if progress >= 1:
                    return
                self._step(crops, progress)

    def _agreed(self, next_validation: float) -> tuple[float, bool]:
        """Share of the run that is done, and whether to validate now: rank 0's clock decides for all.

        If each rank used its own clock, one might validate while another takes a step, and their collective operations
        would not match.
        """
        by_steps = self.counters.step / self.settings.max_steps if self.settings.max_steps else 0.0
        by_time = self.counters.seconds / 60 / self.settings.max_minutes if self.settings.max_minutes else 0.0
        progress = max(by_steps, by_time)
        due = progress >= 1 or self.counters.seconds >= next_validation
        agreed = torch.tensor([progress, float(due)], dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.broadcast(agreed, 0)
        progress, decision = agreed.tolist()
        return progress, bool(decision)

    def _step(self, crops: CropsAhead, progress: float) -> None:
        image = crops.next().to(self.device, non_blocking=True)
        loss, rate = self.learner.step(image, progress)
        if self.recorder is not None and self.counters.step % LOG_EVERY == 0:
            self.recorder.stepped(loss, rate, self.counters)

    def _validate(self) -> None:
        metrics = self.validation.measure(self.learner.average)
        if self.recorder is not None:
            self.recorder.validated(metrics, self.learner.average, self.counters)
        with tempfile.TemporaryDirectory() as folder:
            # Every rank writes the moments of its own parameters; Ray puts the ranks' files into one checkpoint.
            self.learner.save(Path(folder))
            ray.train.report(metrics | {"step": self.counters.step}, checkpoint=Checkpoint.from_directory(folder))
