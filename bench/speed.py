"""Speed of the codec beside JPEG, WebP, AVIF and JPEG XL, from pixels to whole files and back in memory, in one run.

    python -m bench.speed                   # make bench-speed
    python -m bench.speed --memory 200      # instead: peak memory for a generated image of 200 megapixels

The images are Kodak's and some training photographs. Only ratios within one run can be compared; megapixels per second
depend on the machine.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.data import photographs
from bench.memory import peak_memory
from model.bitstream import container
from model.bitstream.coding_passes import PASSES
from model.bitstream.container import Tag
from model.bitstream.stream import StreamReader
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture
from model.core.target import Target
from model.inference import window_coding
from model.inference.tiling import Window
from model.inference.window_coding import BatchQualities
from model.metrics.ms_ssim import ms_ssim
from model.metrics.ssimulacra2 import ssimulacra2
from model.network.network import Network, parameters_by_part
from pipeline.evaluate.baseline_codecs import AVIF, BASELINE_CODECS, pillow
from pipeline.evaluate.speed import TYPICAL

QUALITY = 40
AVIF_ALL = "AVIF, all threads"
Pixels = NDArray[np.uint8]
Encode = Callable[[Pixels], bytes]
Decode = Callable[[bytes], object]
_codec: list[Codec] = []


def _product_flops(rows: Sequence[int], *_: object, out_shape: Sequence[int], **__: object) -> int:
    """Multiply-adds of rows `[N, I]` times a weight."""
    return 2 * math.prod(out_shape) * rows[-1]


UNKNOWN = {
    torch.ops.mkldnn._linear_pointwise: _product_flops,
    torch.ops.onednn.qlinear_pointwise: lambda x, *_, out_shape, **__: 2 * math.prod(out_shape) * x[-1],
    torch.ops.aten.addmm_: lambda _, rows, *__, out_shape, **___: _product_flops(rows, out_shape=out_shape),
}
"""Custom operators that torch's counter does not know."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--images", type=int, default=8, help="Kodak's images, and about half as many photographs")
    parser.add_argument("--memory", type=float, metavar="MEGAPIXELS", help="measure peak memory instead")
    options = parser.parse_args(argv)
    if options.memory:
        print(peak_memory(options.memory, options.model))
        return 0
    try:
        files = photographs(options.images)
    except MaepressError as e:
        print(f"bench.speed: {e}", file=sys.stderr)
        return 2
    images = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    console = Console()
    console.print(_work(options.model), _parts(images, options.model), _codecs(images, options.model))
    return 0


def _codecs(images: list[Pixels], model: str) -> Table:
    table = Table(title=f"{len(images)} images, {_megapixels(images):.1f} MP")
    for name in ("codec", "encode MP/s", "x AVIF", "x WebP", "decode MP/s", "bits per pixel"):
        table.add_column(name, justify="left" if name == "codec" else "right")
    rows: dict[str, tuple[float, float, float]] = {}
    for other in BASELINE_CODECS:
        quality = TYPICAL[other.name]
        rows[other.name] = _time(images, lambda x, r=other, q=quality: r.encode(x, q), other.decode)  # type: ignore[misc]
    avif = pillow("AVIF", speed=6)  # by default on all threads
    rows[AVIF_ALL] = _time(images, lambda x: avif(x, TYPICAL[AVIF.name]), AVIF.decode)
    _load(model, 1)
    rows["ours, 1 thread"] = _time(images, _compress, _decompress)
    torch.set_num_threads(2)
    rows["ours, 2 threads"] = _time(images, _compress, _decompress)
    rows["ours, 2, together"] = _all_at_once(images)
    torch.set_num_threads(1)
    for name, (encoded, decoded, bits) in rows.items():
        ratios = [f"{encoded / rows[other][0]:.2f}" for other in (AVIF_ALL, "WebP m4")]
        table.add_row(name, f"{encoded:.2f}", *ratios, f"{decoded:.2f}", f"{bits:.3f}")
    return table


def _parts(images: list[Pixels], model: str) -> Table:
    """One process, one thread."""
    codec, pictures = _load(model, 1), [Picture(x) for x in images]
    codec.analyse(pictures[:1], QUALITY)  # the first call loads and compiles
    table = Table("step", "MP/s per core", "x encode with check", title="steps, 1 thread, by processor time")
    table.columns[1].justify = table.columns[2].justify = "right"
    seconds = {"encode with check": _core_seconds(lambda: codec.analyse(pictures, QUALITY))}
    seconds["encode without check"] = _core_seconds(lambda: codec.analyse(pictures, QUALITY, check=False))
    for target in (Target(min_psnr=38.0), Target(min_ms_ssim=0.98), Target(min_ssimulacra2=75.0), Target(max_bpp=0.8)):
        seconds[f"encode to {target.described()}"] = _core_seconds(lambda t=target: codec.analyse(pictures, t))  # type: ignore[misc]
    seconds["measuring MS-SSIM"] = _core_seconds(lambda: [ms_ssim(x, x) for x in images])
    seconds["measuring SSIMULACRA2"] = _core_seconds(lambda: [ssimulacra2(x, x) for x in images])
    latents = codec.analyse(pictures, QUALITY, check=False)
    payloads = [codec.coder.encode(x) for x in latents]
    seconds["entropy encoding"] = _core_seconds(lambda: [codec.coder.encode(x) for x in latents])
    seconds["entropy decoding"] = _entropy_decoding(codec, payloads)
    seconds["parsing, scale path included"] = _core_seconds(lambda: codec.restore(payloads))
    seconds["decode"] = _core_seconds(lambda: codec.decompress(payloads))
    for name, taken in seconds.items():
        table.add_row(name, f"{_megapixels(images) / taken:.1f}", f"{taken / seconds['encode with check']:.2f}")
    return table


def _entropy_decoding(codec: Codec, payloads: list[bytes]) -> float:
    """Seconds of coding z and the three passes, given the scale indices."""
    total = 0.0
    for payload, known in zip(payloads, codec.restore(payloads), strict=True):
        header, sections = container.read(payload)
        symbols = np.zeros_like(known.symbols)
        began = time.process_time()
        reader = StreamReader(sections[Tag.STREAM])
        codec.coder.read_hyper(reader, known.z.shape, header.quality)
        for number in range(PASSES):
            codec.coder.read_pass(reader, number, known.indices, symbols)
        total += time.process_time() - began
    return total


def _work(model: str) -> Table:
    """Multiply-adds of matrix products and convolutions, counted while they run, on an image of 256 x 256."""
    network = _load(model, 1)._network
    rows = BatchQualities.of(network, [float(QUALITY)], torch.device("cpu"))
    with torch.inference_mode():
        image = torch.rand(1, 256, 256, 3)
        y = network.analysis(image)
        z = network.hyper_latent(y, rows.quality, rows.fine_quality)
        whole = Window(0, 0, *y.shape[1:3])
        made = window_coding.quantise(network, y, z, rows, whole)
        parts: dict[str, Callable[[], object]] = {
            "analysis": lambda: network.analysis(image),
            "hyper_analysis": lambda: network.hyper_latent(y, rows.quality, rows.fine_quality),
            "means": lambda: window_coding.latents(network, z, made.symbols, made.indices, rows, whole),
            "scales": lambda: _scales(network, z, made.symbols, rows, whole),
            "synthesis": lambda: network.synthesis(made.latent, rows.quality),
        }
        work = {}
        for name, run in parts.items():
            with FlopCounterMode(display=False, custom_mapping=UNKNOWN) as counter:
                run()
            work[name] = counter.get_total_flops() / 2 / 256**2 / 1000
    table = Table("part", "kMAC per pixel", "parameters", title="work")
    table.columns[1].justify = table.columns[2].justify = "right"
    for name, parameters in parameters_by_part(network).items():
        table.add_row(name, f"{work[name]:.2f}" if name in work else "", f"{parameters:,}")
    encode, decode = sum(work.values()) - work["synthesis"], work["means"] + work["scales"] + work["synthesis"]
    table.add_row("encode / with check / decode", f"{encode:.1f} / {sum(work.values()):.1f} / {decode:.1f}", "")
    return table


def _scales(network: Network, z: Tensor, symbols: Tensor, rows: BatchQualities, whole: Window) -> None:
    narrow = window_coding.narrow_features(network, z, rows, whole)
    for number in range(PASSES):
        window_coding.scale_indices(network, number, narrow, symbols, rows)


def _all_at_once(images: list[Pixels]) -> tuple[float, float, float]:
    """Calls the codec as the encode job does; it distributes the images over its threads."""
    pictures, codec = [Picture(x) for x in images], _codec[0]
    files = codec.compress(pictures, QUALITY)
    encoded = _seconds(lambda: codec.compress(pictures, QUALITY))
    decoded = _seconds(lambda: codec.decompress(files))
    return _megapixels(images) / encoded, _megapixels(images) / decoded, _bits(images, files)


def _load(model: str, threads: int) -> Codec:
    torch.set_num_threads(threads)
    _codec[:] = [Codec.load(model)]
    return _codec[0]


def _compress(pixels: Pixels) -> bytes:
    return _codec[0].compress([Picture(pixels)], QUALITY)[0]


def _decompress(payload: bytes) -> Pixels:
    return _codec[0].decompress([payload])[0].pixels


def _time(images: list[Pixels], encode: Encode, decode: Decode) -> tuple[float, float, float]:
    """Megapixels per second encoding and decoding, and bits per pixel."""
    decode(encode(images[0]))
    encoded = _seconds(lambda: [encode(x) for x in images])
    files = [encode(x) for x in images]
    decoded = _seconds(lambda: [decode(x) for x in files])
    return _megapixels(images) / encoded, _megapixels(images) / decoded, _bits(images, files)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _core_seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _megapixels(images: list[Pixels]) -> float:
    return float(sum(x.shape[0] * x.shape[1] for x in images)) / 1e6


def _bits(images: list[Pixels], files: list[bytes]) -> float:
    return 8 * sum(map(len, files)) / _megapixels(images) / 1e6


if __name__ == "__main__":
    sys.exit(main())
