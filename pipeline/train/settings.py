"""Settings of a training run."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from model.network.loss import Distortion
from pipeline.archive.model_name import PATTERN
from pipeline.sources.settings import SourceView
from pipeline.storage.listing.key_globs import SourceChoice


class TrainSettings(SourceView, SourceChoice):
    """Settings of a training run; without a limit it goes on, at the full learning rate, until it is interrupted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    place: ClassVar[str] = "images"

    images: str = Field(description="folder or bucket of images to learn from")
    out: str = Field(description="where the model goes (a folder or bucket prefix)")
    name: str = Field(
        "",
        pattern=f"^({PATTERN})?$",
        description="what the model is called beside its fingerprint; empty: the last part of `out`",
    )
    init: str = Field(
        "base",
        description="start from: base or base-psnr (shipped), scratch (a DCT codec), random (noise), or a model",
    )
    deepen: int = Field(
        0, ge=0, le=16, description="blocks to add to each stage of the transforms; they start as identities"
    )
    width: int | None = Field(
        None,
        ge=16,
        le=192,
        description="with scratch or random: channels at an eighth of the image's sides; 2.5 times as many latents",
    )
    workers: int = Field(2, ge=1, description="DDP workers")
    gpus_per_worker: float = Field(0.0, ge=0, description="GPUs per worker; 0 trains on the CPU")
    max_steps: int | None = Field(None, ge=1, description="number of steps to stop after")
    max_minutes: float | None = Field(None, gt=0, description="minutes of training to stop after")
    batch: int = Field(32, ge=1, description="crops per step, over all workers")
    crop: int = Field(128, ge=64, multiple_of=64, description="side of a training crop in pixels")
    min_scale: float = Field(
        1.0, gt=0, le=1, description="least factor by which images are shrunk (0.5 hides JPEG artefacts)"
    )
    max_scale: float = Field(1.0, gt=0, le=1, description="largest factor by which images are shrunk")
    learning_rate: float = Field(1.5e-3, gt=0, description="peak learning rate of SOAP")
    decay_share: float = Field(0.6, gt=0, le=1, description="last share of the run, over which the rate decays to 2 %")
    distortion: Distortion | None = Field(
        None,
        description="distortion to minimise: mse, perceptual, l2, bce (images of two levels) or ms-ssim; without it, "
        "what `init` was trained for, and mse from scratch",
    )
    hide: float = Field(0.0, ge=0, lt=1, description="share of patches hidden from the encoder (masked training)")
    validation_share: float = Field(0.05, gt=0, lt=1, description="share of images held out for validation")
    validate_minutes: float = Field(4.0, gt=0, description="minutes between validations and checkpoints")
    max_images: int = Field(100_000, ge=2, description="images to learn from at most; of more, a random sample")
    max_failures: int = Field(3, ge=0, description="how often to restart after a worker died")
    seed: int = Field(0, ge=0, lt=1 << 63, description="seed of crops and qualities")
    resume: bool = Field(True, description="resume an earlier run with the same `out`")
    overwrite: bool = Field(False, description="write to `out` although it holds something else under the same names")
