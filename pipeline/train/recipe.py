"""Recipe: the training sets of a model in one YAML file, with each set's share of the batch and scales.

    sets:
      web:
        keys: [train/web/*]
        without: [train/web/pixls*]     # a test set: training must not see it
        crops: 24                       # about 24 of a batch of 32
        scales: [0.7, 0.85]

Keys are relative to one source, so that a recipe works for a folder and for a bucket. Every slot of
the batch belongs to one set, so every batch has the same mixture, for any number of ranks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from model.core.errors import MaepressError
from pipeline.dataset.split import split
from pipeline.train.crops import FEW_IMAGES, POOL_BYTES, SUFFIXES, CropPool
from pipeline.train.drawn_crops import DrawnPool


class ImageSet(BaseModel):
    """A set of images, chosen by patterns of their keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    keys: tuple[str, ...] = Field(min_length=1, description="shell patterns of keys; * also matches /")
    without: tuple[str, ...] = Field((), description="patterns of keys to leave out, such as test sets")
    crops: float = Field(gt=0, description="share of the batch, in a unit common to all sets")
    scales: tuple[float, float] = Field(
        (1.0, 1.0), description="smallest and largest factor by which images are shrunk"
    )

    @model_validator(mode="after")
    def _rising(self) -> "ImageSet":
        low, high = self.scales
        if not 0 < low <= high <= 1:
            raise ValueError(f"scales must be two rising numbers above 0 and at most 1, not {low} and {high}")
        return self

    def holds(self, key: str) -> bool:
        """Whether the image with this key belongs to the set."""
        return any(fnmatchcase(key, pattern) for pattern in self.keys) and not any(
            fnmatchcase(key, pattern) for pattern in self.without
        )


class Recipe(BaseModel):
    """All training sets, and the share of crops that are not from images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    sets: dict[str, ImageSet] = Field(min_length=1)
    drawn: float = Field(
        0.0, ge=0, description="share of drawn crops (pipeline.train.drawn_crops), in the unit of the sets"
    )
    validation_share: float = Field(0.05, gt=0, lt=1, description="share of each set held out for validation")


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a YAML file.

    Raises:
        MaepressError: when it cannot be read or is not a valid recipe.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as e:
        raise MaepressError(f"the recipe {path} cannot be read: {e.strerror or e}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise MaepressError(f"the recipe {path} is not YAML: {' '.join(str(e).split())}") from None
    try:
        return Recipe.model_validate(values)
    except ValidationError as e:
        error = e.errors()[0]
        field = ".".join(map(str, error["loc"]))
        raise MaepressError(f"the recipe {path}: {field + ': ' if field else ''}{error['msg']}") from None


def sort_keys(recipe: Recipe, keys: Iterable[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Assign keys to the sets of a recipe, and split each set.

    Args:
        recipe: the sets; a key belongs to the first one that holds it, or to none.
        keys: keys of the source, in any order.

    Returns:
        for each set, keys to train on and keys held out for validation.

    Raises:
        MaepressError: for a set with fewer than two images.
    """
    found: dict[str, list[str]] = {name: [] for name in recipe.sets}
    for key in sorted(keys):
        if key.lower().endswith(SUFFIXES):
            for name, images in recipe.sets.items():
                if images.holds(key):
                    found[name].append(key)
                    break
    for name, members in found.items():
        if len(members) < 2:
            raise MaepressError(
                f"set {name} of the recipe has {len(members)} images in this source: it needs at least two"
            )
    return {name: split(members, recipe.validation_share) for name, members in found.items()}


def assign_slots(shares: Mapping[str, float], batch: int) -> list[str]:
    """Assign every slot of a batch to a set, in proportion to the shares, evenly interleaved over the ranks.

    Args:
        shares: share of each set, above 0.
        batch: number of slots.

    Returns:
        the name of a set for each slot.

    Raises:
        MaepressError: when the batch has too few slots for all sets.
    """
    total = sum(shares.values())
    counts = {name: int(batch * share / total) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - batch * shares[name] / total)
    for name in by_remainder[: batch - sum(counts.values())]:
        counts[name] += 1
    if missing := [name for name, count in counts.items() if not count]:
        raise MaepressError(f"a batch of {batch} has no crop for {', '.join(missing)}: raise its share or the batch")
    slots = [((i + 0.5) / count, name) for name, count in counts.items() for i in range(count)]
    return [name for _, name in sorted(slots)]


class MixedCrops:
    """A rank's share of every batch of a recipe."""

    DRAWN = "drawn crops"

    def __init__(
        self,
        recipe: Recipe,
        keys: Mapping[str, Sequence[str]],
        fetch: Callable[[str], bytes],
        *,
        batch: int,
        places: range,
        crop: int,
        seed: Sequence[int],
    ) -> None:
        """Nothing is read before the first batch.

        Args:
            recipe: the sets, their shares and scales.
            keys: for each set, the keys to train on.
            fetch: reads the bytes of a key.
            batch: number of crops in a whole batch.
            places: this rank's slots of the batch.
            crop: side of a crop in pixels.
            seed: seed of the run and step from which it resumes: a resumed run must not repeat crops.

        Raises:
            MaepressError: when the batch has too few slots for all sets.
        """
        shares = {name: images.crops for name, images in recipe.sets.items()}
        if recipe.drawn:
            shares[self.DRAWN] = recipe.drawn
        names = assign_slots(shares, batch)
        self._pools: list[CropPool | DrawnPool] = []
        for place in places:
            name = names[place]
            if name == self.DRAWN:
                self._pools.append(DrawnPool(crop, [*seed, place]))
                continue
            turn, turns = names[:place].count(name), names.count(name)
            own = len(keys[name]) >= FEW_IMAGES * turns
            self._pools.append(
                CropPool(
                    keys[name][turn::turns] if own else keys[name],
                    fetch,
                    crop=crop,
                    scales=recipe.sets[name].scales,
                    seed=[*seed, place],
                    pool_bytes=POOL_BYTES // batch,
                    others=keys[name] if own else (),
                )
            )

    def next(self) -> Tensor:
        """The share of the next batch, float `[len(places), crop, crop, 3]` in 0..1.

        Raises:
            MaepressError: when no image of a set is usable.
        """
        return torch.from_numpy(np.stack([pool.next() for pool in self._pools])).to(torch.float32) / 255
