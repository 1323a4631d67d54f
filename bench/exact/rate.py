"""Cost in bits of the integer scale path, against one in floating point.

Three measures on the same whole numbers (z and symbols) of held-out training images, in bits per pixel of the symbols:

- what payloads really take (streams, escapes, rounding up to words);
- what the integer tables make of it in theory;
- what floating point would: the same path without any rounding, its scale indices not whole, the distributions
  interpolated between the indices, and no table; once with the weights as they are, which learned with rounding, and
  once after both paths were tuned alike for some steps on training images, so that neither is at a disadvantage.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from model import checkpoint
from model.bitstream import container
from model.bitstream.coding_passes import pass_map
from model.bitstream.container import Tag
from model.bitstream.probability_tables import SCALES
from model.codec import Codec, Latents
from model.core.config import QUALITIES
from model.core.picture import Picture
from model.entropy.priors import LatentPrior
from model.entropy.scale_path import INDEX_BITS, ScalePath, scale_of
from model.layers.blocks import depth_to_space
from model.layers.fixed_point import ACTIVATION_BITS
from model.layers.quality import interpolate

SHRINK = 0.65
"""Images are shrunk as in training, so that JPEG artefacts vanish."""
CROP = 256
STEPS, BATCH, RATE = 600, 8, 2e-4


class FloatPath(nn.Module):
    """`ScalePath` in plain floating point, with its weights: no grid, no limit, indices that are not whole."""

    def __init__(self, path: ScalePath) -> None:
        super().__init__()
        self.path = copy.deepcopy(path).requires_grad_(True)

    def forward(self, z: Tensor, symbols: Tensor, quality: Tensor) -> Tensor:
        """Scale indices `[B, h, w, M]`, 0..63, of z `[B, zh, zw, Z]` and symbols `[B, h, w, M]`."""
        p, (h, w, m) = self.path, symbols.shape[1:]
        x = depth_to_space(_linear(p.up1, z / 2**ACTIVATION_BITS, quality), 2).relu()
        x = _linear(p.mix, x, quality).relu()
        features = depth_to_space(_linear(p.up2, x, quality), 2).relu()[:, :h, :w]
        passes = torch.from_numpy(pass_map(h, w, m))
        index = _linear(p.out, features, quality)
        for number, context in enumerate(p.later):
            sizes = 2 * torch.log2(1 + (symbols * (passes <= number)).abs())
            kernel = context.near.weight.T.reshape(m, 1, 3, 3)  # type: ignore[union-attr,operator]
            near = F.conv2d(sizes.permute(0, 3, 1, 2), kernel, padding=1, groups=m).permute(0, 2, 3, 1).relu()
            hidden = _linear(context.join, torch.cat([features, near], -1), quality).relu()  # type: ignore[arg-type]
            index = torch.where(passes <= number, index, _linear(context.out, hidden, quality))  # type: ignore[arg-type]
        clipped: Tensor = (index * 2**INDEX_BITS).clamp(0, SCALES - 1)
        return clipped


class IntegerPath(nn.Module):
    """`ScalePath` of all passes at once; gradients pass through its rounding as in training."""

    def __init__(self, path: ScalePath) -> None:
        super().__init__()
        self.path = copy.deepcopy(path).requires_grad_(True)

    def forward(self, z: Tensor, symbols: Tensor, quality: Tensor) -> Tensor:
        """Scale indices `[B, h, w, M]`, whole, of z `[B, zh, zw, Z]` and symbols `[B, h, w, M]`."""
        h, w, m = symbols.shape[1:]
        passes = torch.from_numpy(pass_map(h, w, m))
        features = self.path.features(z, quality)[:, :h, :w]
        index = self.path.first(features, quality)
        for number, context in enumerate(self.path.later):
            known = passes <= number
            index = torch.where(known, index, context(features, symbols * known, quality))
        return index


def _linear(layer: nn.Module, x: Tensor, quality: Tensor) -> Tensor:
    y = F.linear(x, layer.weight, layer.bias)  # type: ignore[arg-type]
    return y if layer.knots is None else y + interpolate(layer.knots, quality)  # type: ignore[arg-type]


def bits(prior: LatentPrior, symbols: Tensor, index: Tensor) -> Tensor:
    """Bits of whole symbols at scale indices that need not be whole: the mixtures between two rows are interpolated."""
    low = index.detach().floor().long().clamp(max=SCALES - 2)
    part = (index.detach() - low)[..., None]
    spread, logit = (torch.lerp(rows[low], rows[low + 1], part) for rows in (prior.spread, prior.logit))
    inverse = torch.exp(-spread) / (scale_of(index)[..., None] * 2**0.5)
    size = symbols.abs()[..., None]
    inside = 0.5 * (torch.erfc((size - 0.5) * inverse) - torch.erfc((size + 0.5) * inverse))
    return -torch.log2((torch.softmax(logit, -1) * inside).sum(-1).clamp(min=2.0**-24))


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """Whole numbers of one image as float tensors with a batch of 1."""

    z: Tensor
    symbols: Tensor
    quality: Tensor
    pixels: int

    @classmethod
    def of(cls, latents: Latents) -> "Sample":
        """Inputs of the entropy model."""
        z, symbols = (torch.from_numpy(a.astype(np.float32))[None] for a in (latents.z, latents.symbols))
        return cls(z, symbols, torch.tensor([latents.header.quality]), latents.header.width * latents.header.height)


def tune(path: nn.Module, prior: LatentPrior, samples: Sequence[Sample], steps: int) -> None:
    """Lower the bits of samples of one size, by the path's weights alone."""
    optimiser = torch.optim.Adam(path.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        chosen = [samples[int(i)] for i in rng.choice(len(samples), BATCH, replace=False)]
        z, symbols, quality = (torch.cat([getattr(s, n) for s in chosen]) for n in ("z", "symbols", "quality"))
        cost = bits(prior, symbols, path(z, symbols, quality)).sum((1, 2, 3))
        loss = (cost / cost.detach()).mean()  # each image counts alike, whatever its rate
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


@torch.no_grad()
def rate(path: nn.Module, prior: LatentPrior, samples: Sequence[Sample]) -> float:
    """Mean bits per pixel."""
    each = [bits(prior, s.symbols, path(s.z, s.symbols, s.quality)).sum() / s.pixels for s in samples]
    return float(torch.stack(each).mean())


def in_payload(codec: Codec, latents: Latents) -> float:
    """Bits per pixel of the symbols in a payload, z left out."""
    sections = container.read(codec.coder.encode(latents))[1]
    taken = sum(len(sections.get(tag, b"")) for tag in (Tag.STREAM, Tag.ESCAPES)) - codec.coder.hyper_bits(latents) / 8
    return 8 * taken / (latents.header.width * latents.header.height)


def is_held_out(key: str) -> bool:
    """Whether training kept an image for validation (5 %, by hash of its key)."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) < 0.05 * 2**64


def load(path: Path) -> Picture:
    """A shrunk image."""
    with Image.open(path) as image:
        size = round(image.width * SHRINK), round(image.height * SHRINK)
        return Picture(np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS)))


def crops(paths: Sequence[Path], count: int) -> list[Picture]:
    """Random squares of random images."""
    rng = np.random.default_rng(1)
    made: list[Picture] = []
    while len(made) < count:
        pixels = load(paths[int(rng.integers(len(paths)))]).pixels
        if min(pixels.shape[:2]) >= CROP:
            top, left = (int(rng.integers(n - CROP + 1)) for n in pixels.shape[:2])
            made.append(Picture(np.ascontiguousarray(pixels[top : top + CROP, left : left + CROP])))
    return made


def report_rate(root: Path, console: Console, *, qualities: Sequence[int], images: int, steps: int) -> None:
    """Measure and print.

    Args:
        root: the training images; keys are paths below it.
        console: where to print.
        qualities: rows of the model.
        images: held-out images to measure on, at most.
        steps: of tuning.
    """
    torch.manual_seed(0)
    codec, network = Codec.load("base"), checkpoint.load("base").network
    keys = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*") if p.suffix.lower() in (".jpg", ".jpeg"))
    held_out = [root / k for k in keys if is_held_out(k)][:images]
    others = [root / k for k in keys if not is_held_out(k)]
    rng = np.random.default_rng(2)
    training: list[Sample] = []
    for crop in crops(others, 24 * BATCH):
        training += map(Sample.of, codec.analyse([crop], int(rng.integers(QUALITIES)), check=False))
    paths: dict[str, nn.Module] = {"integers": IntegerPath(network.scales), "float": FloatPath(network.scales)}
    tuned = copy.deepcopy(paths)
    for path in tuned.values():
        tune(path, network.prior, training, steps)
    table = Table(title=f"bits per pixel of symbols, {len(held_out)} held-out images")
    for column in ("quality", "payload", *paths, "cost", *(f"{name}, tuned" for name in tuned), "cost, tuned"):
        table.add_column(column, justify="right")
    pictures = [load(path) for path in held_out]
    for quality in qualities:
        latents = [codec.analyse([picture], quality, check=False)[0] for picture in pictures]
        samples = [Sample.of(one) for one in latents]
        real = float(np.mean([in_payload(codec, one) for one in latents]))
        plain, better = ([rate(p, network.prior, samples) for p in ps.values()] for ps in (paths, tuned))
        cells = [real, *plain, plain[0] / plain[1] - 1, *better, better[0] / better[1] - 1]
        table.add_row(str(quality), *(f"{c:.2%}" if i in (3, 6) else f"{c:.4f}" for i, c in enumerate(cells)))
    console.print(table)
