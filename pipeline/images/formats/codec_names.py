"""The names of the codecs that an archive may use, as in the column `codec` and on the command line."""

MAE = "mae"
"""The model."""
STANDARD_NAMES = ("jxl", "webp", "avif")
"""Standard codecs (`pipeline.images.standard_codecs`)."""
CODECS = (MAE, *STANDARD_NAMES)
"""All of them, in the order in which they are tried: slow ones last, when there are bytes to beat."""
MAE_ALONE = (MAE,)
