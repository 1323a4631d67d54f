"""Trials of the entropy networks alone: transforms frozen, latents computed once, all variants on the same crops.

    python -m bench.entropy_trials latents RECIPE IMAGES FILE [--crops 1000] [--model base]
    python -m bench.entropy_trials train FILE [--variants baseline carry ...] [--steps 500]

`latents` writes y of training crops by a recipe, and of centre crops of its held-out images. `train`
trains each variant (`bench.entropy_variants`) from the model's weights, and prints what they
need for the same latents: bits per pixel of the symbols, and what the error costs in bits. The
error is that of the latents, and one squared quantisation step weighs 6 / ln 2 bits (the slope of
high-rate theory, by which the encoder rounds). With `--pixels` it is the perceptual error of the
picture, through the frozen synthesis, at the weight of the quality.
"""

import argparse
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bench.entropy_variants import VARIANTS, Variant
from bench.trunk_validation import validation_keys
from model import checkpoint
from model.core.config import QUALITIES
from model.core.errors import MaepressError
from model.layers.blocks import set_compute_dtype
from model.layers.precision import best_dtype, coarse_products
from model.layers.quality import tradeoff
from model.network.loss import BALANCE, distortion
from model.network.network import Network
from pipeline.images.window import Window
from pipeline.sources.open import open_source
from pipeline.storage.open import open_store
from pipeline.train.crops import usable_image, validation_crop
from pipeline.train.learner import LARGEST_GRADIENT, learning_rate
from pipeline.train.recipe import MixedCrops, read_recipe, sort_keys
from pipeline.train.soap import Soap
from pipeline.train.validation import MOST_PIXELS, VALIDATION_QUALITIES

CROP, SIDE, SHRINK = 192, 256, 0.7
"""Side of training crops and longest side of held-out ones, in pixels; factor by which held-out images are shrunk."""
BATCH, DECAY_SHARE = 32, 0.7
STEP_BITS = 6 / math.log(2)
"""Bits that one squared quantisation step is worth."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compute latents, or train."""
    options = _options(argv)
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    try:
        if options.verb == "latents":
            latents(options)
        else:
            train(options)
    except MaepressError as e:
        print(f"bench.entropy_trials: {e}", file=sys.stderr)
        return 2
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.entropy_trials", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("latents", help="write latents of crops")
    verb.add_argument("recipe", type=Path, help="sets of images, in YAML")
    verb.add_argument("images", help="folder or bucket to which the keys of the recipe are relative")
    verb.add_argument("file", type=Path)
    verb.add_argument("--crops", type=int, default=1000, help="training crops")
    verb.add_argument("--held-out", type=int, default=40, help="held-out images, at most")
    verb.add_argument("--model", default="base", help="folder of a model, or the name of a shipped one")
    verb.add_argument("--seed", type=int, default=0)
    verb = verbs.add_parser("train", help="train variants side by side")
    verb.add_argument("file", type=Path)
    verb.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    verb.add_argument("--steps", type=int, default=500)
    verb.add_argument("--batch", type=int, default=8, help="crops per step")
    verb.add_argument("--learning-rate", type=float, default=6e-4, help="rate to decay from")
    verb.add_argument("--pixels", action="store_true", help="measure errors in the picture, not in the latents")
    verb.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


@torch.inference_mode()
def latents(options: argparse.Namespace) -> None:
    """Write y of training crops and held-out images."""
    model = checkpoint.load(options.model)
    network = model.network
    recipe, store = read_recipe(options.recipe), open_store(options.images)
    keys = sort_keys(recipe, (entry.key for entry in open_source(options.images).entries()))
    crops = MixedCrops(
        recipe,
        {name: kept for name, (kept, _) in keys.items()},
        store.get,
        batch=BATCH,
        places=range(BATCH),
        crop=CROP,
        seed=[options.seed, 0],
    )
    tensors: dict[str, Tensor] = {}
    for i in range(0, options.crops, BATCH):
        for place, crop in enumerate(crops.next()):
            _add(tensors, f"train.{i + place:06d}", network, crop[None])
    side = math.ceil(SIDE / SHRINK)
    held_out = sorted(validation_keys(recipe, keys))
    for i, key in enumerate(held_out[:: max(1, len(held_out) // options.held_out)][: options.held_out]):
        image = usable_image(store.get, key, 64 / SHRINK, Window(max(MOST_PIXELS, side**2), side))
        if image is not None:
            _add(tensors, f"held-out.{i:06d}", network, validation_crop(image, SIDE, SHRINK))
    options.file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, options.file, {"model": options.model, "fingerprint": model.fingerprint})


def _add(tensors: dict[str, Tensor], name: str, network: Network, image: Tensor) -> None:
    tensors[f"y.{name}"] = network.analysis(image)[0].clone()
    tensors[f"image.{name}"] = (image[0] * 255).round().to(torch.uint8)


@dataclass(frozen=True, eq=False, slots=True)
class Crops:
    """Crops of one size: latents `[B, h, w, M]`, and pixels, uint8 `[B, 16 h, 16 w, 3]`."""

    y: Tensor
    image: Tensor

    @property
    def pixels(self) -> int:
        """Number of pixels of each crop."""
        return self.image.shape[1] * self.image.shape[2]


class Trial:
    """One variant while it trains."""

    def __init__(self, name: str, variant: Variant, rate: float, *, in_pixels: bool) -> None:
        self.name, self.variant, self.seconds = name, variant, 0.0
        self._rate, self._in_pixels = rate, in_pixels
        self._parameters = variant.requires_grad_(False).trained()
        for parameter in self._parameters:
            parameter.requires_grad_(True)
        self._optimizer = Soap(self._parameters, rate)

    def step(self, crops: Crops, z: Tensor, quality: Tensor, step: int, steps: int) -> None:
        """Learn from some crops."""
        began = time.process_time()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._rate, DECAY_SHARE, step, step / steps)
        bits, latent = self.variant(crops.y, z, quality)
        error = error_bits(self.variant, crops, latent, quality, in_pixels=self._in_pixels)
        cost = bits.sum((1, 2, 3)) / crops.pixels + error
        with coarse_products():
            (cost / tradeoff(quality) ** BALANCE).mean().backward()  # type: ignore[no-untyped-call]
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT)):
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.seconds += time.process_time() - began

    def measure(self, held_out: Sequence[Crops]) -> list[tuple[float, float]]:
        """The `score` at each quality of a validation."""
        return [score(self.variant, held_out, quality, in_pixels=self._in_pixels) for quality in VALIDATION_QUALITIES]


def error_bits(variant: Variant, crops: Crops, latent: Tensor, quality: Tensor, *, in_pixels: bool) -> Tensor:
    """What the error of decoded latents costs, in bits per pixel, `[B]`."""
    network = variant.network
    if in_pixels:
        output = network.synthesis(latent, quality)
        return tradeoff(quality) * distortion("perceptual", output, crops.image.to(torch.float32) / 255)
    steps = (crops.y - latent) * network.gain(quality)
    return STEP_BITS / crops.pixels * steps.square().sum((1, 2, 3))


@torch.no_grad()
def score(variant: Variant, held_out: Sequence[Crops], quality: int, *, in_pixels: bool = False) -> tuple[float, float]:
    """Bits per pixel of the symbols and of the error, means over the images."""
    row, sums = torch.tensor([quality]), np.zeros(2)
    for crops in held_out:
        z = variant.network.hyper_latent(crops.y, row, row)
        bits, latent = variant(crops.y, z, row, estimate=True)
        sums += float(bits.sum()) / crops.pixels, float(error_bits(variant, crops, latent, row, in_pixels=in_pixels))
    return float(sums[0]) / len(held_out), float(sums[1]) / len(held_out)


def read(path: Path) -> tuple[Network, list[Crops], list[Crops]]:
    """The model, training crops and held-out ones of a file that `latents` wrote.

    Raises:
        MaepressError: when the model is not at hand any more: it is gone, or another has its name.
    """
    with safe_open(path, framework="pt") as file:
        notes = file.metadata() or {}
        model = checkpoint.load(notes["model"])
        if model.fingerprint != notes.get("fingerprint"):
            raise MaepressError(f"{path} holds latents of another model than {notes['model']} is now: write them anew")
        network = model.network.requires_grad_(False)
        stored = list(file.keys())
        names = sorted(name.removeprefix("y.") for name in stored if name.startswith("y."))
        crops = {
            name: Crops(file.get_tensor(f"y.{name}")[None], file.get_tensor(f"image.{name}")[None]) for name in names
        }
    set_compute_dtype(network, best_dtype("cpu"))
    training = [one for name, one in crops.items() if name.startswith("train.")]
    return network, training, [one for name, one in crops.items() if name.startswith("held-out.")]


def train(options: argparse.Namespace) -> None:
    """Train variants on the same latents, and print what each needs on held-out ones."""
    network, training, held_out = read(options.file)
    rng = np.random.default_rng(options.seed)
    trials = [
        Trial(name, VARIANTS[name](network), options.learning_rate, in_pixels=options.pixels)
        for name in options.variants
    ]
    before = trials[0].measure(held_out)
    print(f"{len(training)} crops, {len(held_out)} held out, {options.steps} steps of {options.batch}", flush=True)
    _print("before", 0.0, 0.0, before, before)
    strata = np.arange(options.batch)
    for step in range(options.steps):
        chosen = [training[i] for i in rng.choice(len(training), options.batch, replace=False)]
        crops = Crops(torch.cat([one.y for one in chosen]), torch.cat([one.image for one in chosen]))
        drawn = (rng.permutation(strata) + rng.random(options.batch)) * (QUALITIES / options.batch)
        quality = torch.from_numpy(drawn.astype(np.int64).clip(max=QUALITIES - 1))
        with torch.no_grad():
            z = network.hyper_latent(crops.y, quality, quality)
        for trial in trials:
            trial.step(crops, z, quality, step, options.steps)
        if step + 1 in (options.steps // 3, options.steps):
            print(f"after {step + 1} steps", flush=True)
            measured = [trial.measure(held_out) for trial in trials]
            for trial, points in zip(trials, measured, strict=True):
                _print(trial.name, trial.variant.extra_work(), trial.seconds / (step + 1), points, measured[0])


def _print(
    name: str, work: float, seconds: float, points: Sequence[tuple[float, float]], first: Sequence[tuple[float, float]]
) -> None:
    """A line per variant: changes in percent against the first one, and the points."""
    changes = [
        f"{100 * (bits - b) / b:+.2f} / {100 * (bits - b + error - e) / b:+.2f}"
        for (bits, error), (b, e) in zip(points, first, strict=True)
    ]
    total = np.mean([(bits - b + error - e) / b for (bits, error), (b, e) in zip(points, first, strict=True)])
    rates = " ".join(f"{bits:.4f}/{error:.4f}" for bits, error in points)
    print(
        f"{name:12} {work:+.2f} kMAC  {seconds:.2f} s/step  mean {100 * total:+.2f} %  "
        f"bits, at equal error: {'  '.join(changes)}   {rates}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
