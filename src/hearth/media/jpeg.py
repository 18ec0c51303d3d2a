"""JPEGs decoded straight into an array.

libjpeg-turbo without Pillow around it, at the same settings (accurate DCT, smooth
upsampling), so with the same pixels. Of a 224-pixel JPEG that takes 107 µs of a CPU, where
Pillow and the copy into an array take 155; of 12 megapixels 42 ms instead of 140. Of a JPEG
that must be resized there is nothing to gain, because Pillow's resize wants an image of
Pillow's.
"""

import simplejpeg

from hearth.media.raw import Pixels


def decode_into(out: Pixels, payload: bytes) -> bool:
    """Whether the JPEG could be decoded into ``out``, contiguous (height, width, 3), RGB.

    False for anything that isn't a flawless JPEG of just that size: whether it is broken
    or only unusual is for another decoder to say. ``out`` may hold rubbish then.
    """
    try:
        pixels = simplejpeg.decode_jpeg(payload, "RGB", buffer=out, strict=True)
    except ValueError:
        return False
    return bool(pixels.shape == out.shape)
