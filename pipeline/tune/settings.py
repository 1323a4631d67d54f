"""Settings of a tuning."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from pipeline.execution.setting_types import checked_by
from pipeline.sources.settings import SourceView
from pipeline.storage.listing.key_globs import SourceChoice


def choices(text: str) -> tuple[int, ...]:
    """Parse whole numbers, as in "8,16,32"; an empty text has none.

    Raises:
        ValueError: for anything else.
    """
    parts = text.split(",") if text else []
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise ValueError("give whole numbers with commas between them, such as 8,16,32")
    return tuple(int(part) for part in parts)


def sides(text: str) -> tuple[int, ...]:
    """Parse whole numbers that are multiples of 64.

    Raises:
        ValueError: for anything else.
    """
    found = choices(text)
    if any(side % 64 for side in found):
        raise ValueError("crops have sides that are multiples of 64, such as 128,192")
    return found


def widths(text: str) -> tuple[int, ...]:
    """Parse whole numbers that training takes as a width.

    Raises:
        ValueError: for anything else.
    """
    found = choices(text)
    if any(not 16 <= width <= 192 for width in found):
        raise ValueError("widths are from 16 to 192, such as 64,96")
    return found


def bounds(text: str) -> tuple[float, float]:
    """Parse "LOW:HIGH" with 0 < LOW <= HIGH.

    Raises:
        ValueError: for anything else.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = 0.0
    if not 0 < low <= high < math.inf:
        raise ValueError("give LOW:HIGH, such as 0.0003:0.003")
    return low, high


Choices = Annotated[str, checked_by(choices)]
Sides = Annotated[str, checked_by(sides)]
Widths = Annotated[str, checked_by(widths)]
Bounds = Annotated[str, checked_by(bounds)]


class TuneSettings(SourceView, SourceChoice):
    """Ranges of the training settings to try, and the length of a trial."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    place: ClassVar[str] = "images"

    images: str = Field(description="folder or bucket of images to learn from")
    out: str = Field(description="folder for the table of trials, their logs and the best configuration")
    init: str = Field("base", description="start from: base or base-psnr (shipped), scratch (a DCT codec), or a model")
    trials: int = Field(12, ge=1, description="number of random settings to try")
    minutes: float = Field(2.0, gt=0, description="minutes that a trial trains if it is not stopped early")
    learning_rate: Bounds = Field("0.0003:0.003", description="learning rates, drawn evenly on a log scale")
    batch: Choices = Field("16,32", min_length=1, description="crops per step, one of these")
    crop: Sides = Field("128,192", min_length=1, description="side of a crop in pixels, one of these multiples of 64")
    width: Widths = Field("", description="with scratch: channels at an eighth of the image's sides, one of these")
    min_scale: float = Field(1.0, gt=0, le=1, description="least factor by which images are shrunk")
    max_scale: float = Field(1.0, gt=0, le=1, description="largest factor by which images are shrunk")
    max_images: int = Field(2000, ge=2, description="images to learn from at most")
    gpus_per_trial: float = Field(0.0, ge=0, description="GPUs per trial; 0 gives it a CPU core")
    log: Literal["tensorboard", "wandb"] = Field(
        "tensorboard", description="logger of the curves, beside the table; wandb needs that package and an account"
    )
    seed: int = Field(0, ge=0, lt=1 << 63, description="seed of the settings to try, of crops and qualities")
    overwrite: bool = Field(False, description="write to `out` although it holds something else under the same names")
