"""PNG files walked chunk by chunk: PNG Specification, third edition, section 5.

What pixels don't depend on may be as long, or as broken, as it likes; what they do depend on may
not, as libpng has it.
"""

import zlib
from collections.abc import Iterator
from functools import cached_property

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_XMP = b"XML:com.adobe.xmp\0\0\0"
_RAW_EXIF = b"Raw profile type exif\0"
"""Keyword under which ImageMagick wrote Exif before there was a chunk for it: hexadecimal, as a
text."""

_MOST_CHUNKS = 200_000
"""64 MB of data in chunks of 8 KB, as libpng writes them, are 8,000."""

_MOST_METADATA = 4 << 20
"""Bytes of a profile, unpacked, and of Exif."""

_PIECE = 1 << 16
"""Bytes that are unpacked at once."""

_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples in a pixel, by colour type: 11.2.1."""
_PALETTE = 3

_WHOLE = ((0, 0, 1, 1),)
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
"""Adam7's first columns and rows, and the steps to the next: 8.1."""


class _PngChunk:
    """Part of the file; its data is no copy, and shorter than announced where the file ends."""

    def __init__(self, payload: bytes, start: int) -> None:
        view = memoryview(payload)
        self.kind = bytes(view[start + 4 : start + 8])
        self.end = start + 12 + int.from_bytes(view[start : start + 4])
        self.data = view[start + 8 : self.end - 4]
        self.whole = view[start : self.end]
        self.is_cut = self.end > len(payload)

    @property
    def is_sound(self) -> bool:
        """Whether it is what was written."""
        checksum = int.from_bytes(self.whole[-4:])
        return not self.is_cut and zlib.crc32(self.whole[4:-4]) == checksum

    @property
    def is_ancillary(self) -> bool:
        """Whether pixels can be had without it: 5.4."""
        return self.kind[:1].islower()


class PngFile:
    """The picture of a PNG. Raises ValueError where something is broken that pixels depend on."""

    def __init__(self, payload: bytes) -> None:
        self.xmp = b""
        self._exif: memoryview | None = None
        self._raw_exif: tuple[bytes, memoryview] | None = None
        """The chunk's kind, and what follows the keyword."""
        self._profile: memoryview | None = None
        self.is_cut = False
        """Whether the file ends within the data."""
        self._colours = 0
        self._kept: list[memoryview] = []
        """Chunks in front of the data."""
        self._data: list[memoryview] = []
        chunks = _chunks(payload)
        header = next(chunks, None)
        if header is None or header.kind != b"IHDR" or len(header.data) != 13:
            raise ValueError("there is no header")
        self._header = bytes(header.data)
        self._keep(header)
        for chunk in chunks:
            if chunk.kind == b"IDAT":
                self._add(chunk)
            elif chunk.is_ancillary:
                self._read(chunk)
            elif self._data:
                break
            elif chunk.kind != b"PLTE":
                raise ValueError(f"the chunk {ascii(chunk.kind)[2:-1]} isn't known")
            elif self._colour_type == _PALETTE:
                self._keep(chunk)
                self._colours, rest = divmod(len(chunk.data), 3)
                if rest or len(self._kept) > 2:
                    raise ValueError("the palette is broken")
        if self._colour_type == _PALETTE and not self._colours:
            raise ValueError("there is no palette")
        if not self._data:
            raise ValueError("there are no pixels")

    @cached_property
    def exif(self) -> bytes:
        """Exif; empty where there is none that is sound."""
        if self._exif is not None:
            return bytes(self._exif[:_MOST_METADATA])
        if self._raw_exif is None:
            return b""
        kind, text = self._raw_exif
        return _from_hexadecimal(bytes(text) if kind == b"tEXt" else _unpacked(text[1:]))

    @cached_property
    def profile(self) -> bytes:
        """ICC profile; empty where there is none that is sound."""
        return b"" if self._profile is None else _unpacked(self._profile)

    def minimal(self) -> bytes:
        """Write the picture without all that its pixels don't need."""
        length = sum(map(len, self._data))
        # Nobody will ask for this chunk's checksum: those that it is made of have been right.
        head = length.to_bytes(4) + b"IDAT"
        end = bytes(4) + b"\0\0\0\0IEND\xae\x42\x60\x82"
        pieces: list[bytes | memoryview] = [_SIGNATURE, *self._kept, head, *self._data, end]
        return b"".join(pieces)

    def last_pixels(self) -> tuple[int, slice]:
        """Find where the pixels are that the data ends with: their row and their columns."""
        width, height = self._dimensions
        passes = [
            (top + (height - 1 - top) // down * down, slice(left, None, across))
            for left, top, across, down in (_PASSES if self._header[12] else _WHOLE)
            if left < width and top < height
        ]
        return passes[-1]

    def is_whole(self) -> bool:
        """Tell whether the data, unpacked, is enough for the picture; as slow as decoding it.

        Data that the file's end cuts has no checksum of the file's, so its own must be there.
        """
        missing = self._size()
        unpacker = zlib.decompressobj()
        for data in self._data:
            for start in range(0, len(data), _PIECE):
                piece: bytes | memoryview = data[start : start + _PIECE]
                while piece and missing > -_PIECE and not unpacker.eof:
                    missing -= len(unpacker.decompress(piece, 16 * _PIECE))
                    piece = unpacker.unconsumed_tail
        return missing <= 0 and (unpacker.eof or not self.is_cut)

    @property
    def _colour_type(self) -> int:
        return self._header[9]

    @property
    def _dimensions(self) -> tuple[int, int]:
        return int.from_bytes(self._header[:4]), int.from_bytes(self._header[4:8])

    def _size(self) -> int:
        """Count the bytes of all rows, each with its filter: 7.2."""
        width, height = self._dimensions
        bits = self._header[8] * _SAMPLES.get(self._colour_type, 0)
        total = 0
        for left, top, across, down in _PASSES if self._header[12] else _WHOLE:
            columns, rows = -(-(width - left) // across), -(-(height - top) // down)
            if columns > 0 and rows > 0:
                total += rows * (1 + -(-columns * bits // 8))
        return total

    def _keep(self, chunk: _PngChunk) -> None:
        if not chunk.is_sound:
            raise ValueError(f"{chunk.kind.decode()} has a wrong checksum")
        self._kept.append(chunk.whole)

    def _add(self, chunk: _PngChunk) -> None:
        """Add pixels; cut short they may be, and still all that are needed."""
        self.is_cut = chunk.is_cut
        if not chunk.is_cut and not chunk.is_sound:
            raise ValueError("IDAT has a wrong checksum")
        self._data.append(chunk.data)

    def _read(self, chunk: _PngChunk) -> None:
        """Take what is of use in a chunk that may be broken.

        Of chunks that may stand there once the first counts, as in libpng, and nothing is
        unpacked before somebody asks for it: a file has room for thousands.
        """
        kind, data = chunk.kind, chunk.data
        if kind not in (b"tRNS", b"eXIf", b"iTXt", b"iCCP", b"tEXt", b"zTXt") or not chunk.is_sound:
            return
        if kind == b"tRNS":
            # 11.3.1.1; another length makes no sense, and libpng passes it over.
            lengths = {0: {2}, 2: {6}, _PALETTE: {*range(1, self._colours + 1)}}
            if not self._data and len(data) in lengths.get(self._colour_type, ()):
                self._kept.append(chunk.whole)
        elif kind == b"eXIf":
            self._exif = self._exif or data
        elif kind == b"iTXt" and data[: len(_XMP)] == _XMP:
            self.xmp = self.xmp or bytes(data[len(_XMP) :])
        elif kind == b"iCCP" and self._profile is None:
            name = bytes(data[:80]).partition(b"\0")[0]
            self._profile = data[len(name) + 2 :]
        elif data[: len(_RAW_EXIF)] == _RAW_EXIF:
            self._raw_exif = self._raw_exif or (kind, data[len(_RAW_EXIF) :])


def _chunks(payload: bytes) -> Iterator[_PngChunk]:
    """Yield the chunks up to the picture's end; IDAT chunks stand together, later ones are none.

    Raises ValueError where something else than chunks stands before the pixels.
    """
    at = len(_SIGNATURE)
    seen = done = False
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(payload):
            return
        chunk = _PngChunk(payload, at)
        is_data = chunk.kind == b"IDAT"
        done = done or (seen and not is_data)
        if chunk.kind == b"IEND" or (done and (is_data or chunk.is_cut)):
            return
        if not chunk.kind.isalpha():
            if seen:
                return
            raise ValueError("something stands before the pixels that is no chunk")
        seen = seen or is_data
        yield chunk
        at = chunk.end
    raise ValueError(f"there are more than {_MOST_CHUNKS:,} chunks")


def _unpacked(data: memoryview) -> bytes:
    """Unpack what zlib packed; empty where it is broken, or too long."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(data, _MOST_METADATA)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""


def _from_hexadecimal(text: bytes) -> bytes:
    """Read a raw profile: its name, its length, then lines of digits."""
    try:
        return bytes.fromhex(text.split(b"\n", 3)[3].decode("ascii"))
    except (ValueError, IndexError):
        return b""
