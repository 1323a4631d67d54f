"""Which TIFF tags are about storage, and which are carried; any other tag makes the file one that is kept.

Sources: TIFF 6.0, Exif 2.32, XMP part 3, GeoTIFF 1.1, GDAL's GeoTIFF driver, DNG 1.7.
"""

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes per value by type."""
POINTER = 13
"""The type of places in the file, which are not carried."""

WIDTH, HEIGHT, BITS, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES, STRIP_BYTES = 256, 257, 258, 262, 273, 277, 279
TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT, COLOUR_MAP = 324, 325, 338, 339, 320
SUBFILE, OLD_SUBFILE, SUB_IFDS, DNG_VERSION, LAYERS, MAKER_NOTE = 254, 255, 330, 50706, 37724, 37500
ORIENTATION, ICC, XMP = 274, 34675, 700
COMPRESSION, FILL_ORDER, ROWS_PER_STRIP, PLANAR, PREDICTOR = 259, 266, 278, 284, 317
JPEG_TABLES, JPEG_AT, JPEG_BYTES = 347, 513, 514
OLD_JPEG = frozenset({512, JPEG_AT, JPEG_BYTES, 515, 517, 518, 519, 520, 521})
"""The JPEG that holds the pixels of a file with the old compression; in other files, a preview beside them."""

STORAGE = frozenset(
    {WIDTH, HEIGHT, BITS, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES, STRIP_BYTES, COLOUR_MAP}
    | {TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT, 259, 266, 278, 284, 317, 322, 323}
    | {288, 289, 292, 293, JPEG_TABLES, *OLD_JPEG, 529, 530, 531}
)
"""How the pixels are stored: compression, strips, tiles, predictor, palette, the JPEG inside."""

MEANING = frozenset({BITS, PHOTOMETRIC, SAMPLES, COLOUR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT, 332, 333, 334})
"""What samples mean, inks among it: carried where the samples stay as they are."""

DIRECTORIES = {34665: "exif", 34853: "gps"}
"""Tags whose value is the place of a directory of tags."""
INTEROPERABILITY = 40965
"""The same within the EXIF directory."""

_DOCUMENT = (263, 264, 265, 269, 270, 271, 272, 280, 281, 285, 286, 287, 297, 305, 306, 315, 316, 337, 340, 341)
_COLOUR = (301, 318, 319, 321, 336)
_RESOLUTION = (282, 283, 296)
_GEOGRAPHY = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)
_PHOTOGRAPH = (18246, 18249, 32781, 33421, 33422, 33432, 33434, 33437, 33723, 34377, 34850, 34852, 34855, 50341)
CARRIED = frozenset(
    {SUBFILE, OLD_SUBFILE, ORIENTATION, ICC, XMP, *_DOCUMENT, *_COLOUR, *_RESOLUTION, *_GEOGRAPHY, *_PHOTOGRAPH}
    | {59932, *range(40091, 40096), *range(36864, 37500), *range(37501, 37701), *range(41483, 42241)}
)
"""Tags of the page that mean the same whatever the compression."""

CARRIED_IN_EXIF = (
    frozenset({33434, 33437, *range(34850, 34870), *range(36864, 40962), *range(40964, 42241), 59932})
    | frozenset({40962, 40963})
) - {MAKER_NOTE, INTEROPERABILITY, LAYERS}
"""A maker note holds places in the file, in a way that only its maker knows."""
CARRIED_IN_GPS = frozenset(range(32))
CARRIED_IN_INTEROPERABILITY = frozenset({1, 2, 4096, 4097, 4098})
