"""The settings that choose a codec, shared by encode, sync and estimate."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.core.effort import EFFORT_SETTING, Effort
from model.core.target import Target
from pipeline.execution.setting_types import checked_by
from pipeline.images.formats.codec_names import CODECS, MAE, MAE_ALONE


def parse_codecs(text: str) -> tuple[str, ...]:
    """The codecs of a list such as "mae,avif", in the order of CODECS; all of them for an empty text.

    Raises:
        ValueError: for a name that is no codec.
    """
    names = {name.strip() for name in text.split(",")} if text else set(CODECS)
    if unknown := sorted(names - set(CODECS)):
        raise ValueError(f"{unknown[0]!r} is no codec: choose some of {','.join(CODECS)}")
    return tuple(name for name in CODECS if name in names)


class CodecSettings(BaseModel):
    """A codec, or several of which the best is taken for each image."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    codec: Literal["mae", "jxl", "avif", "webp", "auto"] = Field(
        "mae",
        description="what compresses: the model, a standard codec, or auto: for each image whichever is smallest at "
        "the target",
    )
    auto: Annotated[str, checked_by(parse_codecs)] = Field(
        "", description="codecs that auto chooses from, separated by commas, as mae,avif; empty: all"
    )

    effort: Effort = Field(0, description=EFFORT_SETTING)

    @model_validator(mode="after")
    def _auto_alone(self) -> Self:
        if self.auto and self.codec != "auto":
            raise ValueError(f"--auto names the codecs of --codec auto: give that, not --codec {self.codec}")
        return self

    @property
    def codecs(self) -> tuple[str, ...]:
        """The codecs that are allowed, in the order of CODECS."""
        return parse_codecs(self.auto) if self.codec == "auto" else (self.codec,)

    @property
    def effort_of_model(self) -> int:
        """The effort; 0 where the model is not one of the codecs and only says what a quality means."""
        return self.effort if MAE in self.codecs else 0


def described(codecs: tuple[str, ...]) -> str | None:
    """Allowed codecs as the column `candidates` holds them; None for the model alone."""
    return None if codecs == MAE_ALONE else ",".join(codecs)


def needs_model(target: Target, codecs: Sequence[str]) -> bool:
    """Whether pictures have to pass the model: as one of the codecs, or to say what a quality means."""
    return MAE in codecs or target.quality is not None


def needs_score(target: Target, codecs: Sequence[str]) -> bool:
    """Whether SSIMULACRA2 of what the model gives is needed, although it is no floor."""
    return tuple(codecs) != MAE_ALONE and (target.quality is not None or target.max_bpp is not None)
