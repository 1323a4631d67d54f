"""What the lanes of the stream cost in bytes, and what they bring in speed on one core.

    python -m bench.lanes [--images 4] [--qualities 8 40 60]

Encodes Kodak's images, and crops of them, once by the networks, and their integers with 1 to 32 lanes. Bytes are those
of the stream, relative to one lane; the number of lanes that the format wants is marked with a star. Speeds are of the
entropy coder alone, in megapixels per second of processor time, the best of several rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from bench.data import kodak
from model.bitstream import stream
from model.bitstream.coding_passes import PASSES
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.bitstream.stream import MOST_LANES, StreamReader
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.picture import Picture

LANES = [1 << n for n in range(MOST_LANES.bit_length())]
CROPS = (16, 64, 128, 256)
ROUNDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.lanes", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=4, help="number of Kodak's images")
    parser.add_argument("--qualities", type=int, nargs="+", default=[8, 40, 60], help="qualities of the model")
    options = parser.parse_args(argv)
    try:
        files = kodak(options.images)
    except MaepressError as e:
        print(f"bench.lanes: {e}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    codec = Codec.load("base")
    images = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    sizes = Table("size, quality", "bytes", *(f"{n} lanes" for n in LANES), title="bytes of the stream")
    speeds = Table("quality", "MP/s", *(f"{n} lanes" for n in LANES), title="entropy coder, 1 thread")
    for quality in options.qualities:
        for side in (*CROPS, None):
            pictures = [
                Picture(np.ascontiguousarray(x[100 : 100 + side, 100 : 100 + side] if side else x)) for x in images
            ]
            made = codec.analyse(pictures, quality, check=False)
            streams = [[written(codec.coder, x, n) for x in made] for n in LANES]
            bytes_of = [sum(map(len, some)) for some in streams]
            wanted = 1 << written(codec.coder, made[0], None)[0]
            shares = [f"{b / bytes_of[0] - 1:+.2%}{' *' * (n == wanted)}" for n, b in zip(LANES, bytes_of, strict=True)]
            sizes.add_row(f"{side or 'whole'}, {quality}", str(bytes_of[0] // len(made)), *shares)
        pixels = sum(x.header.width * x.header.height for x in made) / 1e6
        encoding = [best(partial(all_written, codec.coder, made, n)) for n in LANES]
        decoding = [best(partial(all_read, codec.coder, made, some)) for some in streams]
        for name, seconds in (("encoding", encoding), ("decoding", decoding)):
            speeds.add_row(str(quality), name, *(f"{pixels / s:.0f}" for s in seconds))
    Console(width=120).print(sizes, speeds)
    return 0


def all_written(coder: EntropyCoder, made: Sequence[Latents], lanes: int | None) -> None:
    """Encode the stream of each image."""
    for x in made:
        written(coder, x, lanes)


def all_read(coder: EntropyCoder, made: Sequence[Latents], streams: Sequence[bytes]) -> None:
    """Decode the stream of each image, given the scale indices."""
    for x, data in zip(made, streams, strict=True):
        read(coder, x, data)


def written(coder: EntropyCoder, latents: Latents, lanes: int | None) -> bytes:
    """The stream of an image's integers."""
    return stream.write(coder.parts(latents.z, latents.symbols, latents.indices, latents.header.quality), lanes)[0]


def read(coder: EntropyCoder, latents: Latents, data: bytes) -> None:
    """Decode a stream, given the scale indices."""
    reader, symbols = StreamReader(data), np.zeros_like(latents.symbols)
    coder.read_hyper(reader, latents.z.shape, latents.header.quality)
    for number in range(PASSES):
        coder.read_pass(reader, number, latents.indices, symbols)


def best(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor seconds of the best round."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return min(taken)


if __name__ == "__main__":
    sys.exit(main())
