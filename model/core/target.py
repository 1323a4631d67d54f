"""The target of a compression: a quality, a lower limit of fidelity, or an upper limit of size."""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import ROUND_FLOOR, Decimal
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge, Gt, Le, Lt

from model.core.config import QUALITIES
from model.core.errors import MaepressError

Quality = Annotated[int | None, Ge(0), Lt(QUALITIES)]
MinPsnr = Annotated[float | None, Gt(0), Le(100)]
MinMsSsim = Annotated[float | None, Gt(0), Lt(1)]
MinSsimulacra2 = Annotated[float | None, Ge(-100), Lt(100)]
MaxBpp = Annotated[float | None, Gt(0), Le(1000)]
"""The kinds of targets with their ranges, which settings classes use as the types of their fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One target: exactly one of the fields is given.

    Lower limits hold on the 8-bit picture that the decoder makes; the limit of size holds for the
    whole payload without metadata.

    Attributes:
        quality: a quality of the model, 0 (smallest) .. 63 (highest fidelity).
        min_psnr: PSNR in dB, over all colour planes.
        min_ms_ssim: MS-SSIM, 0..1, mean over the colour planes.
        min_ssimulacra2: SSIMULACRA2 in points: 90 is hard to tell from the source, 70 is good.
        max_bpp: bits per pixel.

    Raises:
        MaepressError: unless exactly one is given, in its range.
    """

    quality: Quality = None
    min_psnr: MinPsnr = None
    min_ms_ssim: MinMsSsim = None
    min_ssimulacra2: MinSsimulacra2 = None
    max_bpp: MaxBpp = None

    def __post_init__(self) -> None:
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if not given:
            flags = [_flag(field.name) for field in fields(self)]
            raise MaepressError(f"give exactly one of {', '.join(flags[:-1])} or {flags[-1]}")
        if len(given) > 1:
            raise MaepressError(f"{' and '.join(map(_flag, given))} exclude each other: give exactly one of them")
        (name,) = given
        if not all(_holds(limit, getattr(self, name)) for limit in _LIMITS[name]):
            choose = ", ".join(map(_in_words, _LIMITS[name]))
            raise MaepressError(f"{name} {getattr(self, name):g} is out of range: choose {choose}")

    @classmethod
    def of(cls, target: "int | Target") -> "Target":
        """A target unchanged, or the target of a quality for a number."""
        return target if isinstance(target, cls) else cls(quality=target)  # type: ignore[arg-type]

    def described(self) -> str:
        """The target as text, as tables and rows hold it: "quality 40", "min_psnr 38"."""
        (name,) = (field.name for field in fields(self) if getattr(self, field.name) is not None)
        return f"{name} {getattr(self, name):g}"


def rounded_down(value: float, digits: int) -> str:
    """A fidelity as text, rounded down, so that one just below a target does not look as if it reached it.

    Args:
        value: perhaps infinite, as the PSNR of equal pictures is.
        digits: behind the point.
    """
    if not math.isfinite(value):
        return f"{value}"
    return f"{Decimal(value).quantize(Decimal(10) ** -digits, ROUND_FLOOR)}"


_RULES: dict[type, tuple[str, Callable[[Any, Any], bool], str]] = {
    Ge: ("ge", operator.ge, "at least"),
    Gt: ("gt", operator.gt, "more than"),
    Le: ("le", operator.le, "at most"),
    Lt: ("lt", operator.lt, "less than"),
}
_LIMITS = {name: hint.__metadata__ for name, hint in get_type_hints(Target, include_extras=True).items()}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _holds(limit: object, value: float) -> bool:
    """Whether a value respects a limit; NaN respects none."""
    attribute, compare, _ = _RULES[type(limit)]
    return compare(value, getattr(limit, attribute))


def _in_words(limit: object) -> str:
    attribute, _, words = _RULES[type(limit)]
    return f"{words} {getattr(limit, attribute)}"
