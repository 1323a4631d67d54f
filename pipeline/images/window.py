"""The part of a large image that is read to learn from, so that its size does not decide how much memory it takes."""

import math
from dataclasses import dataclass

GRID = 16
"""Windows start at multiples of it: the block grid of JPEG, 4:2:0 or not."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of an image with more than `most_pixels`; of a smaller image, all of it.

    Attributes:
        most_pixels: largest number of pixels, at least the square of `least_side`.
        least_side: smallest width and height in pixels, as far as the image has them.
        x: position between the left (0) and the right edge (1).
        y: position between the upper (0) and the lower edge (1).
    """

    most_pixels: int
    least_side: int
    x: float = 0.5
    y: float = 0.5

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of the window in an image of this size, in pixels."""
        if width * height <= self.most_pixels:
            return 0, 0, width, height
        share = math.sqrt(self.most_pixels / (width * height))
        shorter = min(min(width, height), max(self.least_side, int(min(width, height) * share)))
        longer = min(max(width, height), self.most_pixels // shorter)
        wide, high = (longer, shorter) if width >= height else (shorter, longer)
        left, top = (
            int(place * (whole - part)) // GRID * GRID
            for place, whole, part in ((self.x, width, wide), (self.y, height, high))
        )
        return left, top, left + wide, top + high
