"""The numbers of the pipeline: those of ``config.yaml`` in rapidocr 3.10, under its names.

A test holds them against the installed package. What is ours is below the line.
"""

# Global
TEXT_SCORE = 0.5

# Det
DET_THRESH = 0.3
DET_BOX_THRESH = 0.5
DET_MAX_CANDIDATES = 1000
"""Largest number of candidates, and so of lines in an image."""
DET_UNCLIP_RATIO = 1.6

# Cls: (channels, height, width)
CLS_IMAGE_SHAPE = (3, 48, 192)
CLS_THRESH = 0.9
CLS_LABELS = ("0", "180")

# Rec: (channels, height, least width)
REC_IMAGE_SHAPE = (3, 48, 320)

# ------------------------------------------------------------------------------------------

WIDTH_STEP = 16
LEAST_WIDTH = 128
"""Lines are padded to a multiple of this many pixels, and to the least width: a line's padding,
and so its text, depends on the line alone. (rapidocr pads each batch to its longest line, and to
320, which a short line costs as much time: 2.5 times as much as 128.)"""

WIDEST_BATCH = 2560
"""Pixels that the lines of one run may have together. Recognition answers with 18,710
numbers for every 8 pixels: this is 24 MB; longer runs are no faster on a CPU (measured)."""

OVERVIEW_PIXELS = 736 * 544
"""Pixels of a page as it is looked at first. Print of 6 pixels and more is found on it, all
of it (measured, 9 to 28 pixels high, shrunk to 6); of 4 pixels neighbours flow together, and under
3 nothing shows at all."""

LONGEST = 25_000
"""Pixels of a page's longer edge, as it is looked at first; the shorter one has 32 at least."""

HUGE_PRINT_SHRINK = 3
HUGE_PRINT_HEIGHT = 40
"""Times that a page is shrunk once more to look for huge letters, and the least height of a box
there: letters of some 100 pixels of the overview. It costs a ninth of the overview."""

CLOSEST = 1.5
"""The largest scale at which a page is looked at: small print is found more surely, enlarged."""

CLEAR = 9.5
"""The least height of a box, in pixels of the map that it is found on, at which neighbouring
lines are told apart: print of 6 pixels has boxes of 9.8 to 13 (measured)."""

LOOSE = 3
"""Pixels of the map by which a box is higher than its line, and reaches into its neighbours."""

FAINT = 0.1
"""Value that the map of text shows at least where there is print of 3 pixels."""

FAINT_PRINT = 3
LEAST_PRINT = 9
"""Pixels of print at which it is faint, and of the smallest print that is looked for. Where that
isn't faint yet on the second look (pages of over 14 megapixels), a few samples decide."""

SAMPLES = 3
SAMPLE = 256
"""Samples of a page that are looked at as they are, where it has the most detail, and their edges
in pixels."""

SAMPLED_TEXT = 0.01
"""The share of a sample's pixels that are text, from which on there is print: photographs have
less (measured)."""

DETAIL = 8
"""Shades of grey that a page must differ from its overview, on the mean, for a closer look."""

TILE = 896
TILE_MARGIN = 64
"""Pixels of a closer look that are worked on at once, and what is shown around them: the map
is the same as without tiles (tested)."""

MOST_PIXELS = 24_000_000
"""Pixels of a page: larger ones are shrunk to them, for several pages wait as pixels."""

SURE = 0.9
"""The confidence from which on a line isn't read the other way round as well: upright lines have
0.97 and more, those upside down 0.78 at most (measured)."""

SURER = 0.1
"""Gain in confidence that turns a line: noise reads as well either way."""

DISBELIEVED = 0.3
"""A reading that wasn't believed, for its script, has less confidence: only what is SURE the other
way round is the right way then, for nonsense in other scripts has up to 0.84 (measured)."""

DOUBTFUL = 0.57
"""The confidence of a single letter up to which its line is read once more, if it is SURE
otherwise: letters that were doubled or dropped had 0.53 to 0.57; a line in seven has such a one."""

SMALL = 24
"""Pixels of height up to which a line is: print of 13 pixels. For larger print it would cost
a seventh of recognition, and mends a line in 250 (measured)."""

STRETCHES = (1.07, 1.14)
"""Times that a line is made wider for that: the letters fall between other columns then. One in
seven of those that are read a second time is read a third time (measured)."""

ORIENTATION_RATIO = 3
LEAST_ORIENTATION_LINES = 3
MOST_ORIENTATION_LINES = 8
"""The orientation model is asked of lines so many times as long as high, of so many of a page."""

UPSIDE_DOWN_SHARE = 2 / 3
"""The share of these lines by which a page stands on its head."""

MOST_HEIGHT_OF_INK = 2.3
"""Times that a cut-out line is higher than its ink, at most. An overview's boxes are loose: small
print would be read at half its size, and lose letters (ll, rn); tighter cuts cost more time
than they gain (measured at 1.3 to 2.5)."""
