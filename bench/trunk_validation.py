"""Validation of a trunk: held-out images in the mixture of its recipe, and SSIMULACRA2 of a few crops."""

import statistics

from model.metrics.ssimulacra2 import ssimulacra2
from model.network.network import Network
from pipeline.train.recipe import Recipe
from pipeline.train.validation import MAX_IMAGES, Validation

SCORED_CROPS, SCORED_QUALITIES = 6, (20, 32, 44)
"""Crops and qualities at which a validation measures SSIMULACRA2; it takes a few seconds."""


def validation_keys(recipe: Recipe, keys: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """Held-out images of every set, in proportion to its share of the batch where it has enough."""
    total = sum(images.crops for images in recipe.sets.values())
    return [
        key
        for name, (_, held_out) in keys.items()
        for key in held_out[: max(1, round(MAX_IMAGES * recipe.sets[name].crops / total))]
    ]


def scored(validation: Validation, network: Network) -> dict[str, float]:
    """Mean SSIMULACRA2 of a few crops at a few qualities."""
    return {
        f"ssimulacra2/{quality}": statistics.fmean(
            ssimulacra2(original.numpy(), decoded.numpy())
            for original, decoded in validation.pictures(network, quality, SCORED_CROPS)
        )
        for quality in SCORED_QUALITIES
    }
