"""What a file is by its first bytes, and why a picture among them cannot be read.

The names go into the columns `source_format` and `kept` of files that are kept as they are, so they
are few and fixed. A picture's decoder says no more than "broken data stream"; whether the file is cut
short, or of a variant that hardly any program reads, is told by its structure.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: short, in lower case, for the column `source_format`.
        text: for people, such as "PDF document".
        readable: whether an image reader may understand it; others are not worth the try.
    """

    name: str
    text: str
    readable: bool = True


EMPTY = FileKind("empty", "empty file", readable=False)
UNKNOWN = FileKind("unknown", "unknown kind of file")

_HEAD = 4096
"""Bytes that decide."""

_IMAGES: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xd8\xff", "jpeg", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "png", "PNG"),
    (b"GIF87a", "gif", "GIF"),
    (b"GIF89a", "gif", "GIF"),
    (b"BM", "bmp", "BMP"),
    (b"II+\0", "tiff", "BigTIFF"),
    (b"MM\0+", "tiff", "BigTIFF"),
    (b"II*\0", "tiff", "TIFF"),
    (b"MM\0*", "tiff", "TIFF"),
    (b"IIRO", "orf", "Olympus raw"),
    (b"IIRS", "orf", "Olympus raw"),
    (b"MMOR", "orf", "Olympus raw"),
    (b"IIU\0", "rw2", "Panasonic raw"),
    (b"FUJIFILMCCD-RAW", "raf", "Fujifilm raw"),
    (b"FOVb", "x3f", "Sigma raw"),
    (b"\0MRM", "mrw", "Minolta raw"),
    (b"\xff\x0a", "jxl", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000", "JPEG 2000"),
    (b"8BPS", "psd", "Photoshop"),
    (b"gimp xcf", "xcf", "GIMP"),
    (b"\0\0\1\0", "ico", "icon"),
    (b"\0\0\2\0", "cur", "cursor"),
    (b"icns", "icns", "Apple icon"),
    (b"\x76\x2f\x31\x01", "exr", "OpenEXR"),
    (b"#?RADIANCE", "hdr", "Radiance HDR"),
    (b"#?RGBE", "hdr", "Radiance HDR"),
    (b"SDPX", "dpx", "DPX"),
    (b"XPDS", "dpx", "DPX"),
    (b"SIMPLE  =", "fits", "FITS"),
    (b"DDS ", "dds", "DDS"),
    (b"qoif", "qoi", "QOI"),
    (b"BPG\xfb", "bpg", "BPG"),
    (b"FLIF", "flif", "FLIF"),
    (b"AT&TFORM", "djvu", "DjVu"),
    (b"\xd7\xcd\xc6\x9a", "wmf", "WMF"),
    (b"\x01\xda", "sgi", "SGI"),
    *((b"P" + digit, "ppm", "Netpbm") for digit in (b"1", b"2", b"3", b"4", b"5", b"6", b"7")),
)

_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "pdf", "PDF document"),
    (b"%!PS", "postscript", "PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "postscript", "PostScript document"),
    (b"\0\0\0\x01Bud1", "ds_store", "Finder folder settings (.DS_Store)"),
    (b"\0\x05\x16\x07", "appledouble", "AppleDouble file"),
    (b"bplist", "plist", "Apple property list"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole", "OLE document (such as Thumbs.db)"),
    (b"SQLite format 3\0", "sqlite", "SQLite database"),
    (b"PK\x03\x04", "zip", "ZIP archive"),
    (b"PK\x05\x06", "zip", "ZIP archive"),
    (b"\x1f\x8b", "gzip", "gzip archive"),
    (b"BZh", "bzip2", "bzip2 archive"),
    (b"\xfd7zXZ\0", "xz", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "zstd", "Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7-Zip archive"),
    (b"Rar!\x1a\x07", "rar", "RAR archive"),
    (b"\x1aE\xdf\xa3", "matroska", "Matroska film"),
    (b"FLV\x01", "flv", "Flash film"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "Windows Media film"),
    (b"\0\0\x01\xba", "mpeg", "MPEG film"),
    (b"\0\0\x01\xb3", "mpeg", "MPEG film"),
    (b"ID3", "mp3", "MP3 sound"),
    (b"fLaC", "flac", "FLAC sound"),
    (b"OggS", "ogg", "Ogg sound"),
    (b"\x7fELF", "program", "program"),
    (b"MZ", "program", "program"),
)

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), ("heif", "HEIC")),
    **dict.fromkeys((b"avif", b"avis"), ("avif", "AVIF")),
    b"crx ": ("cr3", "Canon raw"),
    b"jxl ": ("jxl", "JPEG XL"),
    b"jp2 ": ("jpeg2000", "JPEG 2000"),
}
"""Brands of ISO base media files that are images."""

_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (rb"<svg[\s>]", "svg", "SVG drawing"),
    (rb"<x:xmpmeta|<\?xpacket|<rdf:RDF", "xmp", "XMP sidecar"),
    (rb"<plist[\s>]|<!DOCTYPE plist", "plist", "Apple property list"),
    (rb"(?i)<!doctype html|<html[\s>]", "html", "HTML page"),
    (rb"^\s*<\?xml|^\s*<\w+[\s>]", "xml", "XML document"),
    (rb"^\s*[{\[]\s*[\"{\[\]}\d-]", "json", "JSON document"),
    (rb"\[\.ShellClassInfo\]", "ini", "Windows folder settings (desktop.ini)"),
)
_NETPBM_TEXT = (b"#define", b"/* XPM")
"""XBM and XPM, pictures as source text."""


def kind_of(data: bytes) -> FileKind:
    """What a file is, by its first bytes."""
    if not data:
        return EMPTY
    head = data[:_HEAD]
    if (found := _container(head)) is not None:
        return found
    for start, name, text in _OTHERS:
        if head.startswith(start):
            return FileKind(name, text, readable=False)
    for start, name, text in _IMAGES:
        if head.startswith(start):
            return FileKind(name, f"{text} image")
    if head[128:132] == b"DICM":
        return FileKind("dicom", "DICOM image")
    if head[257:262] == b"ustar":
        return FileKind("tar", "tar archive", readable=False)
    if len(head) > 376 and {head[0], head[188], head[376]} == {0x47}:
        return FileKind("mpeg", "MPEG film", readable=False)
    return _text(head) or (FileKind("unknown", "file of zeros") if not any(head) else UNKNOWN)


def _container(head: bytes) -> FileKind | None:
    """The kind of a RIFF or ISO base media file; None for others."""
    if head.startswith(b"RIFF"):
        match head[8:12]:
            case b"WEBP":
                return FileKind("webp", "WebP image")
            case b"AVI ":
                return FileKind("avi", "AVI film", readable=False)
            case b"WAVE":
                return FileKind("wav", "WAV sound", readable=False)
        return None
    box = head[4:8]
    if box in (b"moov", b"mdat", b"wide", b"pnot"):
        return FileKind("quicktime", "QuickTime film", readable=False)
    if box != b"ftyp":
        return None
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4], "big"), 128), 4))]
    if brands[0] == b"qt  ":
        return FileKind("quicktime", "QuickTime film", readable=False)
    if brands[0] in (b"M4A ", b"M4B "):
        return FileKind("m4a", "MPEG-4 sound", readable=False)
    known = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
    if known:
        name, text = ("avif", "AVIF") if ("avif", "AVIF") in known else known[0]
        return FileKind(name, f"{text} image")
    return FileKind("mp4", "MPEG-4 film", readable=False)


def _text(head: bytes) -> FileKind | None:
    """The kind of a text file; None for others."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "replace").encode()
    head = head.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in head:
        return None
    for pattern, name, text in _TEXTS:
        if re.search(pattern, head):
            return FileKind(name, text, readable=False)
    try:
        head[:-4].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return None
    if any(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head):
        return None
    return FileKind("text", "text file", readable=head.startswith(_NETPBM_TEXT))


def why_unreadable(data: bytes, kind: FileKind) -> str:
    """Why no reader understands a file, in a few fixed words: what it is, or what is wrong with it.

    Args:
        data: the file.
        kind: that `kind_of` gave.
    """
    match kind.name:
        case "jpeg":
            return _jpeg(data)
        case "png" if b"IEND" not in data[-_HEAD:] and data.rfind(b"IEND") < 0:
            return "truncated PNG"
        case "gif" if not data.rstrip(b"\0").endswith(b";"):
            return "truncated GIF"
        case "webp" if int.from_bytes(data[4:8], "little") + 8 > len(data):
            return "truncated WebP"
    if kind.name in _READ:
        return f"{kind.text} that cannot be decoded"
    return kind.text


_READ = frozenset({"avif", "bmp", "gif", "jpeg2000", "jxl", "png", "ppm", "qoi", "sgi", "tiff", "webp"})
"""Formats that are read: a file of theirs that is not is damaged, or of a rare variant."""

_VARIANTS = {
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "JPEG with arithmetic coding"),
    **dict.fromkeys((0xC3, 0xC7), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6), "hierarchical JPEG"),
}
"""Kinds of JPEG by the marker of their frame header, which readers do not support."""


def _jpeg(data: bytes) -> str:
    at = 2
    while at + 4 < len(data):
        if data[at] != 0xFF:
            return "JPEG that cannot be decoded"
        marker = data[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:  # padding, and markers without content
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return "JPEG that cannot be decoded"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker in _VARIANTS:
                return _VARIANTS[marker]
            if 8 < (depth := data[at + 4]) <= 16:
                return f"JPEG with {depth} bits per channel"
        if marker == 0xDA:
            return "JPEG that cannot be decoded" if b"\xff\xd9" in data[at:] else "truncated JPEG"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return "truncated JPEG"
