"""HEIC images, where the extra `heif` is installed.

The extra is pi-heif: libheif with a decoder alone (LGPL). Its sibling pillow-heif, whose wheels carry
the encoder x265 (GPL), is used where it is installed instead. The plugin is not registered with
Pillow, as it would take AVIF files that name another brand first.
"""

import importlib
import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pipeline.images.formats.file_kind import kind_of

if TYPE_CHECKING:  # the driver asks only whether the package is there
    from PIL import Image

FORMAT = "heif"
"""The name of the format, as `kind_of` and the column `source_format` give it."""


def is_installed() -> bool:
    """Whether HEIC can be read here."""
    return any(find_spec(name) is not None for name in ("pi_heif", "pillow_heif"))


def opened(source: bytes) -> "Image.Image | None":
    """A HEIC file, opened and not yet decoded; None for other files, and without a package.

    Raises:
        Exception: whatever the package raises for a damaged file.
    """
    if source[4:8] != b"ftyp" or kind_of(source).name != FORMAT or not is_installed():
        return None
    image: Image.Image = _plugin().HeifImageFile(io.BytesIO(source))
    return image


def _plugin() -> Any:
    try:
        from pi_heif import as_plugin, options
    except ImportError:
        as_plugin, options = (importlib.import_module(f"pillow_heif.{name}") for name in ("as_plugin", "options"))
    options.DECODE_THREADS = 1  # the sandbox limits processor time
    return as_plugin
