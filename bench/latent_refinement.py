"""What refining latents before they are rounded would gain, and what it would cost: a trial, not a feature.

    python -m bench.latent_refinement FOLDER/train/web/pixls*.jpg --count 4

For each image, the centre is compressed at some qualities with 0, 1, 3 ... steps. A step reconstructs
the picture from the rounded latents, and moves y towards the latents at which the distortion would be
least by its gradient there:

    aim = latent - gradient / curvature      curvature of each channel: regression of gradients on errors
    y <- y + RATE * (aim - y), at most MOST_MOVED quantisation steps from where the analysis put it

The encoder's rounding weighs the rate, as always, so a step needs no gradient through the entropy
model; payload and decoder stay as they are. For squared error and an orthonormal transform nothing
would move. Rates are estimated, pixels are those of the decoder.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model import checkpoint
from model.core.errors import MaepressError
from model.layers.precision import best_dtype, denormals_as_zero
from model.layers.quality import tradeoff
from model.metrics.ssimulacra2 import ssimulacra2
from model.network.loss import DISTORTIONS, Distortion, distortion
from model.network.network import Network, finalise
from pipeline.evaluate.bd_rate import bd_rate

QUALITIES = (8, 20, 32, 44)
STEPS = (0, 1, 3, 6)
RATE = 0.25
"""Share of the way to the aim that a step goes."""
MOST_MOVED = 0.6
LEAST_CURVATURE = 0.3
"""Of the mean over all channels: a channel with hardly any errors tells nothing of its curvature."""
Point = tuple[float, float, float, float]
"""Bits per pixel, PSNR in dB, SSIMULACRA2, and the objective: bits per pixel + lambda * distortion."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the gains of each number of steps."""
    parser = argparse.ArgumentParser(prog="bench.latent_refinement", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=4, help="evenly chosen of these images")
    parser.add_argument("--side", type=int, default=320, help="longest side of the centre that is compressed")
    parser.add_argument("--model", default="base")
    parser.add_argument("--distortion", choices=DISTORTIONS, default="perceptual", help="what the model minimises")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        network = checkpoint.load(options.model).network.requires_grad_(False)
        finalise(network, best_dtype("cpu"))
        files = sorted(options.images)
        files = files[:: max(1, len(files) // options.count)][: options.count]
        measure(network, [centre(file, options.side) for file in files], options.distortion)
    except (MaepressError, OSError) as e:
        print(f"bench.latent_refinement: {e}", file=sys.stderr)
        return 2
    return 0


def centre(file: Path, side: int) -> Tensor:
    """The centre of an image, float `[1, H, W, 3]` in 0..1, sides multiples of 64."""
    image = Image.open(file).convert("RGB")
    width, height = (max(64, min(side, n) // 64 * 64) for n in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + width, top + height)))[None]).float() / 255


def measure(network: Network, images: Sequence[Tensor], kind: Distortion) -> None:
    """Print a line per number of steps: BD-rates against none, the objective, and processor time."""
    curves: dict[int, list[list[Point]]] = {}
    seconds = dict.fromkeys(STEPS, 0.0)
    for steps in STEPS[:2]:  # what is computed once must not count
        compressed(network, images[0], torch.tensor([QUALITIES[0]]), steps, kind)
    for image in images:
        for steps in STEPS:
            points = []
            for value in QUALITIES:
                quality, started = torch.tensor([value]), time.process_time()
                made = compressed(network, image, quality, steps, kind)
                seconds[steps] += time.process_time() - started
                points.append(judged(image, quality, kind, *made))
            curves.setdefault(steps, []).append(points)
    print("| steps | BD-rate, PSNR | BD-rate, SSIMULACRA2 | objective | processor time |\n|---:|---:|---:|---:|---:|")
    for steps, own in curves.items():
        deltas = [
            np.mean([bd_rate(_curve(none, i), _curve(mine, i)) for none, mine in zip(curves[0], own, strict=True)])
            for i in (1, 2)
        ]
        objective = np.mean(np.array(own)[..., 3] / np.array(curves[0])[..., 3]) - 1
        ratio = seconds[steps] / seconds[0]
        print(f"| {steps} | {deltas[0]:+.2f} % | {deltas[1]:+.2f} % | {objective:+.2%} | {ratio:.1f} |", flush=True)


def _curve(points: Sequence[Point], column: int) -> list[tuple[float, float]]:
    return [(point[0], point[column]) for point in points]


def compressed(network: Network, image: Tensor, quality: Tensor, steps: int, kind: Distortion) -> tuple[Tensor, Tensor]:
    """Estimated bits of an image after some steps, and its pixels as the decoder makes them, uint8 `[1, H, W, 3]`."""
    with torch.no_grad():
        y = network.analysis(image)
    y = refined(network, y, image, quality, steps, kind)
    with torch.no_grad():
        z, symbols, indices, latent = rounded(network, y, quality)
        bits = network.prior.bits(symbols, indices).sum() + network.hyper_prior(z, quality).sum()
        return bits, network.synthesise(latent, quality)


@torch.no_grad()
def judged(image: Tensor, quality: Tensor, kind: Distortion, bits: Tensor, decoded: Tensor) -> Point:
    """The point of a compressed image."""
    bpp, output = float(bits) / (image.shape[1] * image.shape[2]), decoded.float() / 255
    psnr = -10 * torch.log10((output - image).square().mean())
    objective = bpp + float(tradeoff(quality) * distortion(kind, output, image))
    original = (image[0] * 255).round().to(torch.uint8)
    return bpp, float(psnr), ssimulacra2(original.numpy(), decoded[0].numpy()), objective


def rounded(network: Network, y: Tensor, quality: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hyper-latents, symbols, scale indices, and the latents that the decoder sees, all in float."""
    coded = network.analyse_latents(y, quality)
    return coded.z.float(), coded.symbols.float(), coded.indices.float(), coded.latent


def refined(network: Network, y: Tensor, image: Tensor, quality: Tensor, steps: int, kind: Distortion) -> Tensor:
    """Latents y `[B, h, w, M]` after some steps.

    Args:
        network: its weights need no gradient.
        y: latents of the images by the analysis.
        image: float `[B, 16h, 16w, 3]` in 0..1.
        quality: integers `[B]`.
        steps: number of steps.
        kind: the distortion that the model minimises.
    """
    start = y = y.clone()
    gain = network.gain(quality)
    for _ in range(steps):
        with torch.no_grad():
            latent = rounded(network, y, quality)[3]
        latent.requires_grad_()
        with denormals_as_zero():
            total = distortion(kind, network.synthesis(latent, quality), image).sum()
            (gradient,) = torch.autograd.grad(total, [latent])
        latent = latent.detach()
        error, slope = (latent - start) * gain, gradient / gain
        power, product = error.square(), slope * error
        mean = product.sum((1, 2, 3), keepdim=True) / power.sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
        curvature = product.sum((1, 2), keepdim=True) / power.sum((1, 2), keepdim=True).clamp(min=1e-12)
        aim = latent - slope / curvature.maximum(LEAST_CURVATURE * mean).clamp(min=1e-12) / gain
        moved = ((y + RATE * (aim - y) - start) * gain).clamp(-MOST_MOVED, MOST_MOVED)
        y = start + moved / gain
    return y


if __name__ == "__main__":
    sys.exit(main())
