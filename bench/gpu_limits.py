"""What limits an encode on an H100, by reasoning: bytes and multiply-adds of each stage against the GPU's limits.

    python -m bench.gpu_limits                 # the shipped model, quality 40, every image checked
    python -m bench.gpu_limits --images 16

No GPU takes part. The encoder takes its GPU path on a simulated one (`bench.simulated_gpu`), where every operator's
multiply-adds and the bytes that it reads and writes are counted; what depends on the number of pixels is the difference
between two batches, the rest (weights, launches) is paid per batch. A stage cannot be faster than its bytes over the
memory's rate, plus, where an operator multiplies for longer than that, the rest of its multiply-adds. Beside it stand
the processor seconds of the same stages on one core of this machine, and those of the stages that only a host can do.

The GPU's limits are those of NVIDIA's data sheet "NVIDIA H100 Tensor Core GPU", SXM, without sparsity.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.data import DATA
from bench.simulated_gpu import SimulatedGpu, load_codec
from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target
from model.inference import encoder, quantisation_pass, window_coding
from model.inference.size_batches import BATCH_LATENTS
from model.network.network import Network
from model.network.transforms import Analysis
from pipeline.archive.archive import Archive
from pipeline.encode import stages, wire
from pipeline.encode.settings import EncodeSettings
from pipeline.encode.unit_writer import write_unit
from pipeline.execution.packing import pack
from pipeline.images.sandbox.sandbox import shared
from pipeline.storage.open import open_store

MEMORY = 3.35e12
"""Bytes per second of an H100's HBM3."""
MULTIPLY_ADDS = {torch.bfloat16: 989e12 / 2, torch.float32: 67e12 / 2}
"""Per second, dense. float32 is not rounded to TF32: the integer path needs exact sums (`model.layers.fixed_point`)."""
LINK = 55e9
"""Bytes per second of PCIe 5 x16 in one direction, of the 64 GB/s that it has on paper."""
LAUNCH = 5e-6
"""Seconds that a host takes to start an operator from Python: an assumption."""
SIDE = 256
QUALITY = 40
PLACES: dict[str, list[tuple[Any, str]]] = {
    "upload": [(encoder, "to_network")],
    "analysis": [(Analysis, "forward")],
    "hyper path": [(Network, "hyper_latent"), (window_coding, "_features")],
    "entropy parameters": [(window_coding, "quantise")],
    "check: synthesis": [(Network, "synthesise")],
    "check: squared error": [(quantisation_pass, "squared_errors"), (quantisation_pass, "squared_error")],
}
"""The functions of each stage; what runs in none of them is "download"."""
REST = "download"
FETCHED = ("source", "rANS coding", "hand over", "write")


@dataclass(slots=True)
class Work:
    """What a stage does.

    Attributes:
        bytes: read from and written to the GPU's memory.
        over_link: bytes between host and GPU.
        seconds: that the GPU needs at least.
        multiply_adds: by dtype.
        operators: number of them.
        host: processor seconds on this machine, if it ran on it.
    """

    bytes: float = 0.0
    over_link: float = 0.0
    seconds: float = 0.0
    multiply_adds: dict[torch.dtype, float] = field(default_factory=lambda: defaultdict(float))
    operators: int = 0
    host: float = 0.0


class Staged:
    """Within a `with` block, operators and processor time are counted for the stage whose function runs."""

    def __init__(self) -> None:
        self.work: dict[str, Work] = defaultdict(Work)
        self._stack = [REST]
        self._since = 0.0
        self._block = ExitStack()

    def __enter__(self) -> "Staged":
        for stage, places in PLACES.items():
            for owner, name in places:
                inside = self._inside(stage, getattr(owner, name))
                self._block.enter_context(mock.patch.object(owner, name, inside))
        self._since = time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self._charge()
        self._block.close()

    def _charge(self) -> None:
        now = time.process_time()
        self.work[self._stack[-1]].host += now - self._since
        self._since = now

    def _inside(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            self._charge()
            self._stack.append(stage)
            try:
                return function(*arguments, **more)
            finally:
                self._charge()
                self._stack.pop()

        return run

    def count(self, func: Any, read: list[Tensor], written: list[Tensor]) -> None:
        """Count an operator of a simulated GPU."""
        work = self.work[self._stack[-1]]
        if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_) and not (read and written):
            work.over_link += sum(map(_bytes, read + written))
            return
        moved = sum(map(_bytes, read + written))
        products = _multiply_adds(func, read, written)
        work.bytes += moved
        work.operators += 1
        work.multiply_adds[read[0].dtype if read else torch.float32] += products
        work.seconds += max(moved / MEMORY, products / MULTIPLY_ADDS.get(read[0].dtype, MEMORY) if products else 0.0)


def _bytes(x: Tensor) -> int:
    """Bytes of a tensor's values; a value that is given several times counts once."""
    sides = [n for n, stride in zip(x.shape, x.stride(), strict=True) if stride]
    return int(np.prod(sides, dtype=np.int64)) * x.element_size()


def _multiply_adds(func: Any, read: list[Tensor], written: list[Tensor]) -> float:
    """Multiply-adds of a product or a convolution; 0 for other operators."""
    name = func.overloadpacket.__name__
    if name in ("mm", "bmm", "addmm", "addmm_", "baddbmm"):
        first = read[-2]
        return float(written[0].numel() * first.shape[-1])
    if name == "convolution":
        weight = read[1]
        return float(written[0].numel() * weight[0].numel())
    return 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="bench.gpu_limits", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA / "train" / "photos", help="folder of JPEG files")
    parser.add_argument("--images", type=int, default=16, help="number of files for the stages of the host")
    parser.add_argument("--model", default="base")
    options = parser.parse_args(argv)
    files = sorted(options.data.glob("*.jp*g"))[: options.images]
    if not files:
        print(f"no JPEG files in {options.data}: give --data FOLDER, or set MAEPRESS_DATA", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    per_megapixel, per_batch = _on_gpu(options.model)
    on_core, host = _on_host(files, options.model)
    console = Console(width=130)
    console.print(_table(per_megapixel, per_batch, on_core, host))
    _conclude(console, per_megapixel, per_batch, host)
    return 0


def _on_gpu(model: str) -> tuple[dict[str, Work], dict[str, Work]]:
    """What each stage does per megapixel, and per batch whatever its size."""
    counted = []
    for count in (2, 4):
        staged = Staged()
        with SimulatedGpu(staged.count):
            codec = load_codec(model)
            staged.work.clear()
            with staged:
                codec.analyse(_pictures(count), QUALITY)
        counted.append(staged.work)
    small, large = counted
    step = 2 * SIDE * SIDE / 1e6
    slope, fixed = defaultdict[str, Work](Work), defaultdict[str, Work](Work)
    for stage, work in large.items():
        for name in ("bytes", "over_link", "seconds"):
            a, b = getattr(small[stage], name), getattr(work, name)
            setattr(slope[stage], name, (b - a) / step)
            setattr(fixed[stage], name, a - (b - a))
        fixed[stage].operators = work.operators
        for dtype, products in work.multiply_adds.items():
            slope[stage].multiply_adds[dtype] = (products - small[stage].multiply_adds[dtype]) / step
    return slope, fixed


def _pictures(count: int) -> list[Picture]:
    y, x = np.mgrid[:SIDE, :SIDE]
    return [Picture(np.stack([x + i, y, x ^ y], -1).astype(np.uint8)) for i in range(count)]


def _on_host(files: Sequence[Path], model: str) -> tuple[dict[str, Work], dict[str, float]]:
    """Of a core of this machine: seconds per megapixel of the networks' stages, and of the host's."""
    with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
        source = Path(folder) / "source"
        source.mkdir()
        for file in files:
            (source / file.name).symlink_to(file.resolve())
        store, archive, codec = open_store(str(source)), Archive.create(f"{folder}/archive"), Codec.load(model)
        settings = EncodeSettings(source=str(source), archive=f"{folder}/archive", quality=QUALITY)
        sandbox, target = shared(settings.limits()), Target.of(QUALITY)
        entries = list(store.entries())
        stages.compress(
            stages.analyse(_load(entries[:1], store, sandbox), codec, target), codec.coder, target, sandbox, ""
        )
        spent = dict.fromkeys(FETCHED, 0.0)
        with _counted(spent, "source"):
            loaded = _load(entries, store, sandbox)
        megapixels = sum(x.reading.width * x.reading.height for x in loaded if isinstance(x, stages.Loaded)) / 1e6
        with Staged() as staged:
            analysed = stages.analyse(loaded, codec, target)
        with _counted(spent, "rANS coding"):
            done = stages.compress(analysed, codec.coder, target, sandbox, "parts")
        with _counted(spent, "hand over"):
            for item in (loaded, analysed, done):
                _handed_over(item)
        with _counted(spent, "write"):
            write_unit(0, None, [done], archive)
        sandbox.close()
    for work in staged.work.values():
        work.host /= megapixels
    return staged.work, {name: seconds / megapixels for name, seconds in spent.items()}


def _load(entries: Sequence[Any], store: Any, sandbox: Any) -> list[Any]:
    return stages.load(entries, store, sandbox, 1 << 30, 1 << 30)


def _handed_over(item: object) -> None:
    """Pack and unpack an item as between two stages; without Ray, whose own work comes on top."""
    import pyarrow as pa

    row = {"unit": [0], "base": [None], "drop": [None], "item": pa.array([pack(item)], pa.large_binary())}
    wire.each(pa.table(row), lambda _: None)


@contextmanager
def _counted(spent: dict[str, float], name: str) -> Iterator[None]:
    """Add the processor seconds of this process and its children to an entry."""
    begun = _processor_seconds()
    yield
    spent[name] += _processor_seconds() - begun


def _processor_seconds() -> float:
    children = psutil.Process().children(recursive=True)
    return time.process_time() + sum(sum(p.cpu_times()[:2]) for p in children)


def _table(slope: dict[str, Work], fixed: dict[str, Work], on_core: dict[str, Work], host: dict[str, float]) -> Table:
    title = f"quality {QUALITY}, every image checked; the GPU's columns are reasoned, not measured"
    table = Table(title=title, box=None)
    for heading in ("stage", "MB/MP", "link MB/MP", "kMAC/pixel bf16", "float32", "us/MP", "operators", "core ms/MP"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in (*PLACES, REST):
        work = slope[stage]
        bf16, exact = (work.multiply_adds[dtype] / 1e9 for dtype in (torch.bfloat16, torch.float32))
        cells = (work.bytes / 1e6, work.over_link / 1e6, bf16, exact, work.seconds * 1e6)
        core = f"{on_core[stage].host * 1e3:.1f}"
        table.add_row(stage, *(f"{cell:.2f}" for cell in cells), str(fixed[stage].operators), core)
    for name, seconds in host.items():
        table.add_row(name, "", "", "", "", "", "", f"{seconds * 1e3:.1f}")
    return table


def _conclude(console: Console, slope: dict[str, Work], fixed: dict[str, Work], host: dict[str, float]) -> None:
    """What limits, and how many cores a GPU needs."""
    kernels, link = (sum(getattr(w, name) for w in slope.values()) for name in ("seconds", "over_link"))
    batch = BATCH_LATENTS["cuda"] * 256 / 1e6
    operators = sum(work.operators for work in fixed.values())
    launches, weights = LAUNCH * operators / batch, sum(work.seconds for work in fixed.values()) / batch
    limits = {"kernels": kernels + weights, "the link": link / LINK, "launches": launches}
    for name, seconds in limits.items():
        console.print(f"{name}: at most {1 / seconds:,.0f} MP/s in batches of {batch:.0f} MP")
    gpu = 1 / max(limits.values())
    core = sum(host.values())
    console.print(f"one core of this machine ({os.cpu_count()} in all): {1 / core:.0f} MP/s of {', '.join(host)}")
    console.print(f"cores beside one GPU so that the GPU limits: {gpu * core:.0f}")


if __name__ == "__main__":
    sys.exit(main())
