"""Drawn crops: training images of kinds that are rare among photographs.

Objects on a white studio background with soft shadows, text, user interfaces, icons (some much
smaller than a crop and padded as the codec pads them), colour noise, and long straight edges before
a smooth background. Fonts are those of the machine, or Pillow's own if it has none.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter

FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "/Library/Fonts")
MOST_FONTS = 200
LETTERS = "etaoinshrdlucmfwypvbgkjqxz" * 2 + "ETAOINSHRDLU" + "0123456789" + ".,-:()/%"
Colour = tuple[int, int, int]


class DrawnPool:
    """Draws crops of random kinds; the same seed gives the same crops on the same machine."""

    def __init__(self, crop: int, seed: Sequence[int]) -> None:
        self._crop, self._rng = crop, np.random.default_rng(seed)

    def next(self) -> NDArray[np.uint8]:
        """A crop, uint8 `[crop, crop, 3]`."""
        kind = KINDS[int(self._rng.integers(len(KINDS)))]
        return np.asarray(kind(self._rng, self._crop), np.uint8)


def studio(rng: np.random.Generator, side: int) -> Image.Image:
    """An object on a nearly white, nearly flat background, with a soft shadow below it."""
    background = _shaded(rng, side, _near_white(rng), rng.uniform(0, 6))
    shape = _blob(rng, side)
    shadow = shape.transform(
        shape.size, Image.Transform.AFFINE, (1, 0, -rng.uniform(-6, 6), 0, 1, -rng.uniform(0, 12))
    ).filter(ImageFilter.GaussianBlur(rng.uniform(2, 14)))
    dark = Image.new("RGB", background.size, _colour(rng, 0, 90))
    background.paste(dark, (0, 0), shadow.point([int(n * rng.uniform(0.1, 0.5)) for n in range(256)]))
    item = _shaded(rng, side, _colour(rng), rng.uniform(5, 80))
    if rng.random() < 0.6:
        item = _noisy(rng, item, rng.uniform(1, 12), coloured=False, blur=rng.uniform(0.4, 1.5))
    background.paste(item, (0, 0), shape.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.2))))
    return background


def text(rng: np.random.Generator, side: int) -> Image.Image:
    """Lines of text on a plain background, sometimes noisy and blurred like a scan."""
    dark, light = _colour(rng, 0, 70), _near_white(rng)
    ink, paper = (light, dark) if rng.random() < 0.2 else (dark, light)
    image = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(image)
    size = int(np.exp(rng.uniform(np.log(8), np.log(40))))
    font, left = _font(rng, size), int(rng.integers(-size, size))
    for top in range(int(rng.integers(-size, size // 2)), side, int(size * rng.uniform(1.1, 1.6))):
        draw.text((left, top), _words(rng, 3 * side // size), ink, font)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        image = _noisy(rng, image, rng.uniform(0.5, 5), coloured=rng.random() < 0.3)
    return image


def interface(rng: np.random.Generator, side: int) -> Image.Image:
    """A user interface: panels, buttons, lines one pixel wide, labels."""
    back = _colour(rng, 225, 256) if rng.random() < 0.7 else _colour(rng, 10, 60)
    image = Image.new("RGB", (side, side), back)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 12))):
        x, y = (int(n) for n in rng.integers(-20, side, 2))
        w, h = (int(n) for n in rng.integers(12, side, 2))
        fill = _colour(rng) if rng.random() < 0.4 else tuple(int(n + rng.integers(-12, 13)) for n in back)
        border = _colour(rng) if rng.random() < 0.5 else None
        radius = int(rng.choice([0, 0, 3, 6, 12]))
        draw.rounded_rectangle((x, y, x + w, y + h), min(radius, w // 2, h // 2), fill, border)
        if rng.random() < 0.7:
            size = int(rng.integers(9, 18))
            draw.text((x + 5, y + 3), _words(rng, max(3, w // size)), _contrast(rng, fill), _font(rng, size))
    for _ in range(int(rng.integers(0, 4))):
        at, colour = int(rng.integers(side)), _colour(rng)
        draw.line((0, at, side, at) if rng.random() < 0.5 else (at, 0, at, side), colour)
    return image


def icon(rng: np.random.Generator, side: int) -> Image.Image:
    """Flat shapes with smooth edges; half of them tiny, with the last row and column repeated to fill the crop."""
    small = int(rng.integers(8, 64)) if rng.random() < 0.5 else side
    large = Image.new("RGB", (4 * small, 4 * small), _near_white(rng) if rng.random() < 0.6 else _colour(rng))
    draw = ImageDraw.Draw(large)
    for _ in range(int(rng.integers(1, 6))):
        x, y = (int(n) for n in rng.integers(0, 4 * small, 2))
        r = int(rng.integers(small // 4 + 1, 2 * small))
        box, colour = (x - r, y - r, x + r, y + r), _colour(rng)
        kind = int(rng.integers(4))
        if kind == 0:
            draw.ellipse(box, colour)
        elif kind == 1:
            draw.rounded_rectangle(box, r // 4, colour)
        elif kind == 2:
            draw.regular_polygon((x, y, r), int(rng.integers(3, 8)), int(rng.integers(360)), colour)
        else:
            start, end = sorted(rng.uniform(0, 360, 2).tolist())
            draw.arc(box, start, end, colour, int(rng.integers(2, max(3, small // 2))))
    pixels = np.asarray(large.resize((small, small), Image.Resampling.BOX))
    spare = side - small
    return Image.fromarray(np.pad(pixels, ((0, spare), (0, spare), (0, 0)), "edge"))


def noise(rng: np.random.Generator, side: int) -> Image.Image:
    """Smooth shading under noise, coloured or grey, with a grain of one pixel or a few."""
    image = _shaded(rng, side, _colour(rng, 30, 220), rng.uniform(0, 90))
    deviation = float(np.exp(rng.uniform(np.log(2), np.log(40))))
    return _noisy(rng, image, deviation, coloured=rng.random() < 0.8, blur=float(rng.choice([0, 0, 0.6, 1.2])))


def edges(rng: np.random.Generator, side: int) -> Image.Image:
    """Bars and wires, or lettering, at an angle before a smooth background: masts, railings, signs in a photograph."""
    image = _shaded(rng, side, _muted(rng), rng.uniform(0, 60))
    for _ in range(int(rng.integers(1, 5))):
        image.paste(_shaded(rng, side, _muted(rng), rng.uniform(0, 50)), (0, 0), _strokes(rng, side))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.9)))
    return _noisy(rng, image, rng.exponential(2.0), coloured=rng.random() < 0.3, blur=rng.uniform(0.3, 1.0))


def _strokes(rng: np.random.Generator, side: int) -> Image.Image:
    """A mask of parallel bars or of lettering, turned by any angle, with smooth edges."""
    large = 3 * side
    mask = Image.new("L", (large, large))
    draw = ImageDraw.Draw(mask)
    if rng.random() < 0.3:
        size = int(rng.integers(30, 150))
        draw.text((0, large // 2 - size), _words(rng, 2 * large // size), 255, _font(rng, size))
    else:
        width, gap = int(np.exp(rng.uniform(0, np.log(60)))), int(rng.integers(20, large))
        for top in range(int(rng.integers(gap)), large, gap):
            draw.line((0, top, large, top + int(rng.integers(-6, 7))), 255, width)
    turned = mask.rotate(rng.uniform(0, 360), Image.Resampling.BILINEAR)
    kept, inner = side * int(rng.integers(1, 3)), int(0.7 * large)  # the corners of what was turned are empty
    left, top = (int(n) + (large - inner) // 2 for n in rng.integers(0, inner - kept + 1, 2))
    return turned.crop((left, top, left + kept, top + kept)).resize((side, side), Image.Resampling.BOX)


KINDS: tuple[Callable[[np.random.Generator, int], Image.Image], ...] = (studio, text, interface, icon, noise, edges)


def _colour(rng: np.random.Generator, low: int = 0, high: int = 256) -> Colour:
    red, green, blue = (int(n) for n in rng.integers(low, high, 3))
    return red, green, blue


def _muted(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(np.clip(n, 0, 255)) for n in rng.uniform(0, 256) + rng.normal(0, rng.uniform(0, 40), 3))
    return red, green, blue


def _near_white(rng: np.random.Generator) -> Colour:
    level = 255 - int(rng.exponential(6))
    red, green, blue = (int(np.clip(level + rng.integers(-3, 4), 0, 255)) for _ in range(3))
    return (255, 255, 255) if rng.random() < 0.4 else (red, green, blue)


def _contrast(rng: np.random.Generator, fill: Sequence[int]) -> Colour:
    return _colour(rng, 0, 80) if sum(fill) > 384 else _colour(rng, 180, 256)


def _shaded(rng: np.random.Generator, side: int, colour: Colour, amount: float) -> Image.Image:
    """A colour with smooth shading of about `amount` levels."""
    coarse = rng.uniform(-amount, amount, (4, 4, 1)) + rng.uniform(-amount / 5, amount / 5, (4, 4, 3))
    planes = [
        Image.fromarray(plane.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
        for plane in np.moveaxis(coarse, -1, 0)
    ]
    return _rounded(np.stack([np.asarray(p) for p in planes], -1) + np.array(colour), rng)


def _rounded(levels: NDArray[np.floating], rng: np.random.Generator) -> Image.Image:
    """Levels to pixels; half of the time dithered, as the noise of a camera does."""
    spread = rng.uniform(-0.5, 0.5, levels.shape) if rng.random() < 0.5 else 0.0
    return Image.fromarray(np.clip(np.round(levels + spread), 0, 255).astype(np.uint8))


def _noisy(
    rng: np.random.Generator, image: Image.Image, deviation: float, *, coloured: bool, blur: float = 0.0
) -> Image.Image:
    grain = rng.standard_normal((image.height, image.width, 3 if coloured else 1))
    if blur:
        grain = gaussian_filter(grain, (blur, blur, 0))
        grain /= grain.std()
    return Image.fromarray(np.clip(np.asarray(image) + deviation * grain, 0, 255).astype(np.uint8))


def _blob(rng: np.random.Generator, side: int) -> Image.Image:
    """A mask with a rounded outline, which the border of the crop may cut."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = side * rng.uniform(0.15, 0.6) * (1 + rng.uniform(0, 0.25) * np.sin(rng.integers(1, 6) * angles))
    x, y = rng.uniform(0, side, 2)
    mask = Image.new("L", (side, side))
    outline = [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radius, angles, strict=True)]
    ImageDraw.Draw(mask).polygon(outline, 255)
    return mask


def _words(rng: np.random.Generator, letters: int) -> str:
    drawn = rng.integers(len(LETTERS), size=max(1, letters))
    return "".join(" " if gap < 0.17 else LETTERS[i] for i, gap in zip(drawn, rng.random(len(drawn)), strict=True))


def _font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    files = _font_files()
    if files and rng.random() < 0.9:
        return _loaded(files[int(rng.integers(len(files)))], size)
    return _loaded("", size)


@functools.lru_cache(maxsize=256)
def _loaded(file: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(file, size) if file else ImageFont.load_default(size)
    except OSError:  # a font that FreeType cannot read
        return ImageFont.load_default(size)


@functools.cache
def _font_files() -> tuple[str, ...]:
    found = (path for folder in FONT_FOLDERS for path in sorted(Path(folder).rglob("*.ttf")))
    return tuple(str(path) for path, _ in zip(found, range(MOST_FONTS), strict=False))
