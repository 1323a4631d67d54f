"""What a model is trained on, as one file: sets of images by pattern, how often each comes, how far each is shrunk.

    sets:
      web:
        keys: [train/web/*]
        without: [train/web/pixls*]     # held out: no training may see them
        crops: 24                       # of a batch of 32, about
        scales: [0.7, 0.85]

Keys are those of one source, so that a recipe serves a folder and a bucket alike. Every place in the batch belongs to
one set, so the mixture is exact in every batch, whatever the number of ranks.
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
    """A set of images of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[str, ...] = Field(min_length=1, description="patterns of the keys, as of a shell; * matches / too")
    without: tuple[str, ...] = Field((), description="patterns of keys that belong to no set: test sets")
    crops: float = Field(gt=0, description="share of the batch, in any unit common to all sets")
    scales: tuple[float, float] = Field((1.0, 1.0), description="least and largest factor by which images are shrunk")

    @model_validator(mode="after")
    def _sound(self) -> "ImageSet":
        low, high = self.scales
        if not 0 < low <= high <= 1:
            raise ValueError(f"scales are two rising numbers above 0 and up to 1, not {low} and {high}")
        return self

    def holds(self, key: str) -> bool:
        """Whether an image belongs to it."""
        return any(fnmatchcase(key, pattern) for pattern in self.keys) and not any(
            fnmatchcase(key, pattern) for pattern in self.without
        )


class Recipe(BaseModel):
    """Everything that training draws its crops from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sets: dict[str, ImageSet] = Field(min_length=1)
    drawn: float = Field(0.0, ge=0, description="share of crops drawn by the training itself, in the sets' unit")
    validation_share: float = Field(0.05, gt=0, lt=1, description="share of each set held out for validation")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        MaepressError: when it cannot be read or says something impossible.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as e:
        raise MaepressError(f"the recipe {path} cannot be read: {e.strerror or e}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise MaepressError(f"the recipe {path} is no YAML: {' '.join(str(e).split())}") from None
    try:
        return Recipe.model_validate(values)
    except ValidationError as e:
        error = e.errors()[0]
        place = ".".join(map(str, error["loc"])) or "it"
        raise MaepressError(f"the recipe {path}: {place}: {error['msg']}") from None


def sort_keys(recipe: Recipe, keys: Iterable[str]) -> dict[str, tuple[list[str], list[str]]]:
    """Each set's keys to train on and keys held out for validation; keys of no set are left out.

    Raises:
        MaepressError: for a set without at least two images.
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
            raise MaepressError(f"the recipe's set {name} has {len(members)} images here: it needs at least two")
    return {name: split(members, recipe.validation_share) for name, members in found.items()}


def deal(shares: Mapping[str, float], batch: int) -> list[str]:
    """A name for each place of a batch: as many of each as its share says, and spread so that all ranks get some.

    Raises:
        MaepressError: when the batch has too few places for all.
    """
    total = sum(shares.values())
    counts = {name: int(batch * share / total) for name, share in shares.items()}
    short = sorted(shares, key=lambda name: counts[name] - batch * shares[name] / total)
    for name in short[: batch - sum(counts.values())]:
        counts[name] += 1
    if missing := [name for name, count in counts.items() if not count]:
        raise MaepressError(f"a batch of {batch} has no place for {', '.join(missing)}: raise its share or the batch")
    places = [((i + 0.5) / count, name) for name, count in counts.items() for i in range(count)]
    return [name for _, name in sorted(places)]


class MixedCrops:
    """A rank's share of every batch of a recipe."""

    DRAWN = "drawn by the training"

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
            recipe: which sets, how often, how far shrunk.
            keys: of each set, those to learn from.
            fetch: reads the bytes of a key.
            batch: crops of a whole batch.
            places: this rank's of them.
            crop: side of a crop in pixels.
            seed: of the run, and where it goes on: a run must not see the same crops again.

        Raises:
            MaepressError: when the batch has too few places for all sets.
        """
        shares = {name: images.crops for name, images in recipe.sets.items()}
        if recipe.drawn:
            shares[self.DRAWN] = recipe.drawn
        names = deal(shares, batch)
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
            MaepressError: when not one image of a set is usable.
        """
        return torch.from_numpy(np.stack([pool.next() for pool in self._pools])).to(torch.float32) / 255
