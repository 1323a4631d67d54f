"""What a window has beyond what is wanted of it, and how much of that each layer drops.

A window inside a picture comes with the neighbours that the layers read. A layer of 3x3
neighbourhoods reads one position on each side, so after it one less is needed: it computes no more
than that. Where the window ends at the picture's own border there may be less than the layers
reach; beyond it are zeros, as for a whole picture, and such a side stays whole until what is left
suffices.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Surplus:
    """Positions beyond what is wanted, on each side: at least what the layers read, or all up to the picture's border.

    Attributes:
        top: rows above.
        left: columns before.
        bottom: rows below.
        right: columns behind.
    """

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def after(self, needed: int) -> "Surplus":
        """What is left of it after a layer, if the layers behind that one read `needed` positions on each side."""
        return Surplus(*(min(x, needed) for x in (self.top, self.left, self.bottom, self.right)))

    def finer(self, stride: int) -> "Surplus":
        """The same on a grid that is finer by a factor of `stride`."""
        return Surplus(self.top * stride, self.left * stride, self.bottom * stride, self.right * stride)

    def without(self, rest: "Surplus", height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns that stay of a window `height` x `width` when only `rest` is kept of its surplus."""
        top, left = self.top - rest.top, self.left - rest.left
        return slice(top, height - (self.bottom - rest.bottom)), slice(left, width - (self.right - rest.right))


NONE = Surplus()
