"""Trials of the weights of the perceptual distortion: short trainings, and their rates at equal quality.

    python -m bench.objective_trials train RECIPE IMAGES OUT --squared 0.3 --peaks 0.06 0.06 0.2 0.2 0.2
    python -m bench.objective_trials compare RECIPE IMAGES base OUT [OUT2 ...] [--qualities 20 32 44 54]

`train` decays from a model over a number of steps. `compare` prints BD-rates against the first model
by PSNR, SSIMULACRA2 and butteraugli's 3-norm, with estimated rates, on crops of held-out
photographs. It needs the program `butteraugli_main` (Debian's `libjxl-devtools`).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import model.network.loss
import model.network.structural_error
import pipeline.train.learner
from bench import butteraugli
from bench.trunk_files import replace
from model import checkpoint
from model.core.errors import MaepressError
from model.core.model_files import DISTORTION
from model.metrics.ssimulacra2 import ssimulacra2
from model.network.loss import SQUARED_SHARE, STRUCTURAL_WEIGHT, VISIBLE_WEIGHT
from model.network.network import Network
from model.network.structural_error import MEANS, NORM, PEAKS, SCALES
from pipeline.evaluate.bd_rate import bd_rate
from pipeline.images.decode_rgb import decode_rgb
from pipeline.sources.open import open_source
from pipeline.storage.base import Store
from pipeline.storage.open import open_store
from pipeline.train.learner import Learner
from pipeline.train.recipe import MixedCrops, read_recipe, sort_keys

QUALITIES = (6, 16, 28, 44)
LARGEST = (384, 320)
"""Largest width and height in pixels of a centre crop that is measured."""
SETS = (("web", 4, 0.75), ("sample", 1, 0.65), ("photos", 1, 0.8))
"""Recipe sets whose held-out images are measured: name, number of images, factor by which they are shrunk."""
OTHER_SETS = (("clothing/validation", 2, 0.8), ("train/web/pixls-", 3, 1.0))
"""Beginnings of the keys of images that belong to no training set; likewise."""
AVERAGE = 0.98
"""Decay per step of the weights' moving average: a trial is too short for the usual one."""
METRICS: dict[str, Callable[[float], float]] = {"PSNR": float, "SSIMULACRA2": float, "butteraugli": lambda v: -v}
"""Metrics, each with a function that makes higher values better."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train or compare."""
    options = _options(argv)
    torch.set_num_threads(1)
    try:
        if options.verb == "train":
            train(options)
        else:
            compare(options.recipe, options.images, options.models, options.qualities)
    except MaepressError as e:
        print(f"bench.objective_trials: {e}", file=sys.stderr)
        return 2
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.objective_trials", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, summary in (("train", "train one trial"), ("compare", "BD-rates of models against the first one")):
        verb = verbs.add_parser(name, help=summary)
        verb.add_argument("recipe", type=Path, help="sets of images, in YAML")
        verb.add_argument("images", help="folder or bucket to which the keys of the recipe are relative")
    verbs.choices["compare"].add_argument("models", nargs="+", help="base, or the folders of models")
    verbs.choices["compare"].add_argument("--qualities", type=int, nargs="+", default=QUALITIES, help="to measure")
    verb = verbs.choices["train"]
    verb.add_argument("out", type=Path, help="folder for the model")
    verb.add_argument("--squared", type=float, default=SQUARED_SHARE, help="weight of the squared error")
    verb.add_argument("--structural", type=float, default=STRUCTURAL_WEIGHT, help="weight of the structural error")
    verb.add_argument("--visible", type=float, default=VISIBLE_WEIGHT, help="weight of the visible error")
    for name, weights in (("--means", MEANS), ("--peaks", PEAKS)):
        verb.add_argument(name, type=float, nargs=SCALES, default=weights, help="its weights at each scale")
    verb.add_argument("--norm", type=int, default=NORM, help="exponent of the norm of its peaks")
    verb.add_argument("--init", default="base", help="folder of a model, or the name of a shipped one")
    verb.add_argument("--steps", type=int, default=220)
    verb.add_argument("--batch", type=int, default=32, help="crops per step")
    verb.add_argument("--learning-rate", type=float, default=6e-4, help="rate to decay from")
    verb.add_argument("--seed", type=int, default=7, help="trials with one seed see the same crops")
    return parser.parse_args(argv)


def train(options: argparse.Namespace) -> None:
    """Train one trial, and write the average of its weights as a model."""
    model.network.loss.SQUARED_SHARE, model.network.loss.STRUCTURAL_WEIGHT = options.squared, options.structural
    model.network.loss.VISIBLE_WEIGHT = options.visible
    structural = model.network.structural_error
    structural.MEANS, structural.PEAKS, structural.NORM = tuple(options.means), tuple(options.peaks), options.norm
    pipeline.train.learner.AVERAGE = AVERAGE
    recipe = read_recipe(options.recipe)
    keys = sort_keys(recipe, (entry.key for entry in open_source(options.images).entries()))
    crops = MixedCrops(
        recipe,
        {name: kept for name, (kept, _) in keys.items()},
        open_store(options.images).get,
        batch=options.batch,
        places=range(options.batch),
        crop=128,
        seed=[options.seed, 0],
    )
    learner = Learner(
        checkpoint.load(options.init).network.requires_grad_(True).train(),
        peak=options.learning_rate,
        decay_share=0.9,
        distortion="perceptual",
        seed=options.seed,
    )
    for step in range(options.steps):
        loss, _ = learner.step(crops.next(), step / options.steps)
        if step % 50 == 49:
            print(f"step {step + 1}  loss {float(loss.total.detach().mean()):.3f}", flush=True)
    for name, data in checkpoint.serialise(learner.average, {DISTORTION: "perceptual"}).items():
        replace(options.out / name, data)


def compare(recipe: Path, images: str, models: Sequence[str], qualities: Sequence[int] = QUALITIES) -> None:
    """Print BD-rates in percent against the first model, and the points of every curve."""
    groups = pictures(recipe, images)
    anchors: dict[str, NDArray[np.float64]] = {}
    for name in models:
        network = checkpoint.load(name).network
        for group, members in groups.items():
            points = np.mean([curve(network, picture, qualities) for picture in members], axis=0)
            anchor = anchors.setdefault(group, points)
            deltas = [
                f"{metric} {bd_rate(_points(anchor, i, better), _points(points, i, better)):+.1f}"
                for i, (metric, better) in enumerate(METRICS.items(), 1)
            ]
            means = " ".join("/".join(f"{value:.3f}" for value in point) for point in points)
            print(f"{name}  {group} ({len(members)})  {'  '.join(deltas)}  {means}", flush=True)


def _points(points: NDArray[np.float64], column: int, better: Callable[[float], float]) -> list[tuple[float, float]]:
    return [(float(point[0]), better(float(point[column]))) for point in points]


def pictures(recipe_file: Path, images: str) -> dict[str, list[Image.Image]]:
    """The crops to measure, in groups: held-out images of the training sets, and other sets."""
    keys = [entry.key for entry in open_source(images).entries()]
    recipe, store = read_recipe(recipe_file), open_store(images)
    sets = sort_keys(recipe, keys)
    groups = {"validation": [(key, scale) for name, n, scale in SETS for key in _evenly(sets[name][1], n)]}
    for start, n, scale in OTHER_SETS:
        groups[start] = [(key, scale) for key in _evenly([key for key in keys if key.startswith(start)], n)]
    return {name: [_crop(store, key, scale) for key, scale in members] for name, members in groups.items()}


def _evenly(keys: Sequence[str], count: int) -> list[str]:
    ordered = sorted(keys)
    return ordered[:: max(1, len(ordered) // count)][:count]


def _crop(store: Store, key: str, scale: float) -> Image.Image:
    image = decode_rgb(store.get(key))
    if image is None:
        raise MaepressError(f"{key} cannot be read")
    if scale != 1:
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
    width, height = (min(most, side // 64 * 64) for most, side in zip(LARGEST, image.size, strict=True))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


@torch.inference_mode()
def curve(network: Network, picture: Image.Image, qualities: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """Points of a picture, one per quality: estimated bits per pixel, PSNR in dB, SSIMULACRA2, butteraugli's 3-norm."""
    original = np.array(picture)
    image, points = torch.from_numpy(original[None]).float() / 255, []
    for value in qualities:
        quality = torch.tensor([value])
        coded = network.analyse(image, quality)
        bits = network.prior.bits(coded.symbols.float(), coded.indices.float()).sum()
        bits = bits + network.hyper_prior(coded.z.float(), quality).sum()
        decoded = network.synthesise(coded.latent, quality)[0].numpy()
        psnr = 10 * np.log10(255**2 / np.square(decoded.astype(np.float64) - original).mean())
        points.append((float(bits) / (picture.width * picture.height), float(psnr), *_perceptual(original, decoded)))
    return points


def _perceptual(original: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> tuple[float, float]:
    """SSIMULACRA2, and butteraugli's 3-norm."""
    norm = butteraugli.distance(original, decoded)
    if norm is None:
        raise MaepressError("butteraugli_main is not installed (Debian: libjxl-devtools)")
    return ssimulacra2(original, decoded), norm


if __name__ == "__main__":
    sys.exit(main())
