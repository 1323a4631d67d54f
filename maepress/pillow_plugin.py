"""`.mae` in Pillow: importing this module registers the format with `Image.open` and `image.save`.

    import maepress.pillow_plugin as mae
    mae.use("models/photos")            # beside the shipped model; files name the model that they need
    image = Image.open("x.mae")         # reads size, mode and metadata; pixels are decoded at first use
    image.save("y.mae", quality=48)     # or min_ssimulacra2=80, or another field of `Target`

Modes L, LA, RGB and RGBA, with ICC profile, EXIF and XMP; images of other modes must be converted first.
"""

from model.pillow_plugin import MaeImageFile, use

__all__ = ["MaeImageFile", "use"]
