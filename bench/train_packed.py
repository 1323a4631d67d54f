"""Training on one GPU machine without Ray or storage: a pack in, a model and a resumable state out.

    python -m bench.train_packed PACK.tar OUT --minutes 9 [--init MODEL] [--deepen N] [--batch 64]

All images are kept on the device at three sizes, and crops are slices of them, so that nothing waits for the host. The
learner is the one of `maepress train` (`pipeline.train.learner`). OUT gets the best model so far (`maepress train
--init OUT` adapts it further) and `state/`, from which the same command resumes: `--minutes 18` after `--minutes 9`
does the second half. It needs only torch, numpy, Pillow, safetensors and pytorch-msssim.
"""

import argparse
import io
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bench.pack import read
from bench.trunk_files import replace
from model import checkpoint
from model.core.config import CodecConfig
from model.core.model_files import DISTORTION
from model.network.loss import Distortion
from model.network.net2net import deepened
from model.network.network import Network
from pipeline.dataset.split import split
from pipeline.train.learner import Learner
from pipeline.train.validation import Validation

SIZES = (1.0, 0.85, 0.7)
"""Factors by which the pack's images are shrunk again."""
HELD_OUT = 0.05
LOG_EVERY = 200


def main(argv: Sequence[str] | None = None) -> int:
    """Train until the minutes are over."""
    options = _options(argv)
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    files = read(options.pack)
    train, held_out = split(sorted(files), HELD_OUT)
    images = on_device([files[key] for key in train], options.crop, device)
    start, distortion = _start(options.init)
    learner = Learner(
        deepened(start, options.deepen, options.deepen).to(device),
        peak=options.learning_rate,
        decay_share=options.decay_share,
        distortion=distortion,
        seed=options.seed,
    )
    state = options.out / "state"
    if state.exists():
        learner.load(state)
        torch.manual_seed(options.seed + learner.counters.step)
    validation = Validation(held_out, files.__getitem__, 0, 1, device, distortion=distortion)
    validate(learner, validation, distortion, options)
    before, started = learner.counters.seconds, time.monotonic()
    pause = next_validation = 60 * options.validate_minutes
    while learner.counters.seconds < 60 * options.minutes:
        loss, _ = learner.step(
            crops(images, options.batch, options.crop), learner.counters.seconds / 60 / options.minutes
        )
        if learner.counters.step % LOG_EVERY == 0:
            print(
                f"step {learner.counters.step}, minute {learner.counters.seconds / 60:.2f}: {loss.total.mean():.3f}",
                flush=True,
            )
        learner.counters.seconds = before + time.monotonic() - started
        if learner.counters.seconds - before >= next_validation:
            validate(learner, validation, distortion, options)
            next_validation += pause
    validate(learner, validation, distortion, options)
    return 0


def _start(init: str) -> tuple[Network, Distortion]:
    """The network to start from, and what to minimise: what it was trained for, or else it would unlearn that."""
    if init == "scratch":
        return Network(CodecConfig()), "mse"
    loaded = checkpoint.load(init)
    return loaded.network, loaded.distortion


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.train_packed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pack", type=Path, help="tar written by bench.pack")
    parser.add_argument("out", type=Path, help="folder for the model and the state")
    parser.add_argument("--minutes", type=float, required=True, help="minutes of training, over all starts")
    parser.add_argument("--init", default="base", help="scratch, the name of a shipped model, or a model's folder")
    parser.add_argument("--deepen", type=int, default=0, help="blocks to add to each stage of the transforms")
    parser.add_argument("--batch", type=int, default=64, help="crops per step")
    parser.add_argument("--crop", type=int, default=128, help="side of a crop, a multiple of 64")
    parser.add_argument("--learning-rate", type=float, default=1.5e-3, help="learning rate of the plateau")
    parser.add_argument("--decay-share", type=float, default=0.6, help="last share of the run, over which it falls")
    parser.add_argument("--validate-minutes", type=float, default=2.0, help="minutes between validations")
    parser.add_argument("--seed", type=int, default=0, help="seed of crops and qualities")
    return parser.parse_args(argv)


def on_device(files: list[bytes], crop: int, device: torch.device) -> list[Tensor]:
    """Every image at every size that is large enough for a crop: uint8 `[H, W, 3]` each."""

    def decode(data: bytes) -> Tensor:
        return torch.from_numpy(np.array(Image.open(io.BytesIO(data)).convert("RGB")))

    with ThreadPoolExecutor() as pool:
        originals = [image.to(device) for image in pool.map(decode, files)]
    return [
        resized for image in originals for scale in SIZES if min((resized := shrink(image, scale)).shape[:2]) >= crop
    ]


def shrink(image: Tensor, scale: float) -> Tensor:
    """Shrink uint8 `[H, W, 3]`."""
    if scale == 1:
        return image
    planes = image.permute(2, 0, 1)[None].float()
    smaller = F.interpolate(planes, scale_factor=scale, mode="bicubic", antialias=True)
    return smaller[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).contiguous()


def crops(images: list[Tensor], count: int, side: int) -> Tensor:
    """Random crops, randomly flipped and transposed: float `[count, side, side, 3]` in 0..1."""
    pieces = []
    for index, x, y, turn in torch.rand(count, 4).tolist():
        image = images[int(index * len(images))]
        top, left = int(y * (image.shape[0] - side + 1)), int(x * (image.shape[1] - side + 1))
        piece = image[top : top + side, left : left + side]
        piece = piece.flip(1) if turn < 0.5 else piece
        pieces.append(piece.transpose(0, 1) if turn % 0.5 < 0.25 else piece)
    return torch.stack(pieces).float() / 255


def validate(learner: Learner, validation: Validation, distortion: Distortion, options: argparse.Namespace) -> None:
    """Measure the average; keep it if it is the best so far; write the state."""
    metrics = validation.measure(learner.average)
    counters = learner.counters
    row = {"step": counters.step, "minutes": round(counters.seconds / 60, 2)}
    row |= {name: round(value, 4) for name, value in metrics.items()}
    print(json.dumps(row), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    if metrics["loss"] < counters.best:
        counters.best = metrics["loss"]
        notes: dict[str, object] = {DISTORTION: distortion, "validation": row}
        for name, data in checkpoint.serialise(learner.average, notes).items():
            replace(options.out / name, data)
    fresh = options.out / "state.partial"
    fresh.mkdir(exist_ok=True)
    learner.save(fresh)
    (options.out / "state").mkdir(exist_ok=True)
    for file in fresh.iterdir():
        file.replace(options.out / "state" / file.name)
    fresh.rmdir()


if __name__ == "__main__":
    sys.exit(main())
