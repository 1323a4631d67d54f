"""`maepress-thumbnailer FILE OUT SIZE`: a PNG of one `.mae` file for file managers, as freedesktop.org's thumbnailers.

`deploy/desktop/maepress.thumbnailer` registers it. It decodes files of the shipped models only.
"""

import sys
import warnings
from collections.abc import Sequence

from PIL import Image, ImageOps

import maepress.pillow_plugin  # noqa: F401  # registers the format

LARGEST = 4096
"""Largest side of a thumbnail in pixels; desktops ask for 128 to 1024."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the thumbnail.

    Args:
        argv: the file, the PNG to write and the largest side in pixels; the process's own arguments when None.

    Returns:
        0; 2 with one line on standard error where there is no thumbnail.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) != 3 or not (words[2].isdecimal() and 0 < int(words[2]) <= LARGEST):
        print(f"usage: maepress-thumbnailer FILE.mae OUT.png SIZE   (1 to {LARGEST})", file=sys.stderr)
        return 2
    file, out, side = words[0], words[1], int(words[2])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=["MAE"]) as image:
                image.thumbnail((side, side))
                upright = ImageOps.exif_transpose(image)
        upright.save(out, "PNG")
    except Exception as e:  # of a file that may come from anyone
        print(f"maepress-thumbnailer: {file!r}: {' '.join(str(e).split()) or type(e).__name__}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
