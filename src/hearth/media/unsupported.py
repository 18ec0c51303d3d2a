"""Files that aren't read as images, told from one another for whoever has sent one."""

import re

_HEAD = 1024
"""Bytes by which files are told from one another; more of them is never looked at."""

_Mark = tuple[re.Pattern[bytes], str]


def _marks(*kinds: tuple[bytes, str]) -> tuple[_Mark, ...]:
    return tuple((re.compile(mark, re.DOTALL), name) for mark, name in kinds)


# (How such files begin, what they are): from the formats' own specifications.
_IMAGES = _marks(
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a JPEG 2000 image"),
    (rb"8BP[SB]", "a Photoshop image (PSD)"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing (EPS)"),
    (rb"\0\0[\x01\x02]\0[^\0]\0", "an icon (ICO)"),
    (rb"icns\0", "an icon (ICNS)"),
    (rb"DDS \x7c\0\0\0", "a DirectDraw texture (DDS)"),
    (rb"\x76\x2f\x31\x01", "an OpenEXR image"),
    (rb"#\?(RADIANCE|RGBE)", "a Radiance image (HDR)"),
    (rb"P[1-6]\s++[0-9#]|P7\nWIDTH", "a PNM image (PBM, PGM or PPM)"),
    (rb"PF\s++[0-9]", "a PFM image"),
    (rb"qoif", "a QOI image"),
    (rb"FLIF[1Aa]", "a FLIF image"),
    (rb"BPG\xfb", "a BPG image"),
    (rb"gimp xcf", "a GIMP image (XCF)"),
    (rb"\x0a[\0-\x05]\x01[\x01\x02\x04\x08]", "a PCX image"),
    (rb"\x01\xda[\0\x01][\x01\x02]", "an SGI image"),
    (rb"SIMPLE  =", "a FITS image"),
    (rb".{128}DICM", "a DICOM image"),
    (rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF", "a Windows metafile"),
    (rb"\x8aMNG\r\n\x1a\n|\x8bJNG\r\n\x1a\n", "an MNG or JNG image"),
    (rb"IIR[OS]|MMOR", "a RAW file (ORF)"),
    (rb"\0.{3}ftypcrx ", "a RAW file (CR3)"),
    (rb"FOVb", "a RAW file (X3F)"),
    (rb"\0MRM", "a RAW file (MRW)"),
    (rb"II\x1a\0\0\0HEAPCCDR", "a RAW file (CRW)"),
    # Each part ends in one place alone, and none is tried again: hostile ones repeat them.
    (rb"(?i:(?:(?:<\?xml[^>]{0,200}+>|<!--(?:(?!-->).){0,500}+-->|"
     rb"<!doctype svg[^>\[]{0,200}+(?:\[[^\]]{0,500}+\]\s*+)?+>)\s*+)*+<svg\b)",
     "an SVG drawing"),
)  # fmt: skip

_OTHERS = _marks(
    (rb"\s*+%PDF-", "a PDF: send its pages as images"),
    (rb"\0.{3}ftypM4[AB] |ID3[\x02-\x04]|fLaC|"
     rb"\xff[\xf1-\xf3\xf9-\xfb]|RIFF.{4}WAVE|FORM.{4}AIF|#!AMR",
     "a sound"),
    (rb"OggS\0", "a sound or a video"),
    (rb"\0.{3}(ftyp|moov|mdat|wide|skip)|\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|"
     rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11|\0\0\x01[\xba\xb3]|G.{187}G.{187}G",
     "a video: hearth watch takes videos"),
    (rb"\0{64}", "zeros (a file that was never written?)"),
    (rb"PK(\x03\x04|\x05\x06)", "a ZIP archive"),
    (rb"\x1f\x8b\x08|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|\xfd7zXZ\0|BZh[1-9]1AY|\x28\xb5\x2f\xfd|"
     rb".{257}ustar", "an archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document"),
    (rb"SQLite format 3\0", "a database"),
    (rb"\x7fELF|MZ\x90\0", "a program"),
)  # fmt: skip

_TEXTS = _marks(
    (rb"(?i:<!doctype html|<html|<head|<body)", "HTML (an error page?)"),
    (rb"(?i:<\?xml|<[a-z!])", "XML"),
    (rb"data:image/", "a data URL: send the bytes that stand in it"),
    (rb"/9j/|iVBORw0KGgo|R0lGOD|UklGR", "base64: send the bytes themselves"),
    (rb"[{\[]", "JSON"),
    (rb"", "text"),
)


def describe_unsupported(payload: bytes) -> str:
    """Say what a file is that is no image we read, as the beginning of a sentence."""
    start = payload[:_HEAD]
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    # TGA files begin with nothing of their own.
    is_tga = payload.endswith(b"TRUEVISION-XFILE.\0")
    if name := _first(start, _IMAGES) or _first(text, _IMAGES) or is_tga * "a TGA image":
        return f"not an image that is read here but {name}"
    name = _first(start, _OTHERS) or ("" if _is_binary(start) else _first(text, _TEXTS))
    return f"not an image but {name}" if name else "not an image that is read here"


def _first(content: bytes, marks: tuple[_Mark, ...]) -> str:
    return next((name for mark, name in marks if mark.match(content)), "")


def _is_binary(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False  # UTF-16
    if b"\0" in head:
        return True
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # The cut may fall into a character, of at most 4 bytes.
        return len(head) < _HEAD or error.start < _HEAD - 3
    return False
