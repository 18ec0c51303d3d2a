"""Vectors of labels: made unit, stored as float32 or float16, and multiplied with a query's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hearth.families.clip.labels.limits import LARGE
from hearth.machine import usable_cores
from hearth.models.vectors import Vector

Stored = NDArray[np.float32] | NDArray[np.float16]
Dtype = Literal["float32", "float16"]

BLOCK = 8192
"""Vectors that are converted at once: 25 MB at 768 numbers each."""

_ROWS = 512
_PRODUCT = 1024
"""Rows × queries of one product by one of our threads. Such a piece stays in the processor's
cache, and OpenBLAS does it at once. From about 1500 on it uses threads of its own, which
wait for one another at every piece: on a machine that is busy otherwise, ten times as long."""

_HALF_BITS = np.int32(-0x70002000)
"""0x8FFFE000: where a half's sign, exponent and mantissa are in a float, moved there."""
_HALF_SCALE = np.float32(2.0**112)
"""Factor between the two exponents' biases, 127 and 15."""
_SMALLEST_NORMAL_HALF = 2.0**-14


def stored(vectors: Vector, dtype: Dtype) -> Stored:
    """Return unit vectors as they are kept.

    Of halves those below 2⁻¹⁴ become 0: there they are no more exact, and some processors
    take a hundred times longer to multiply what is that small.
    """
    if dtype == "float32":
        return vectors
    return np.where(np.abs(vectors) < _SMALLEST_NORMAL_HALF, 0, vectors).astype(np.float16)


def products(vectors: Stored, queries: Vector) -> Vector:
    """Multiply every vector (n, dim) with every query (queries, dim): float32 (queries, n).

    Block by block on all cores; of float16 never more than a block is converted. One query
    of a small set takes no second thread: see below.
    """
    halves = vectors.dtype == np.float16
    if len(queries) == 1 and not halves:
        if len(vectors) <= LARGE:
            # On the event loop. The threads of a BLAS wait for one another, and where the
            # cores are busy now and then for 10 ms and more; this is 0.2 ms of one core.
            return np.asarray(np.einsum("ij,j->i", vectors, queries[0]), np.float32)[None]
        return np.asarray(vectors @ queries[0], np.float32)[None]
    made = np.empty((len(queries), len(vectors)), np.float32)
    columns = np.ascontiguousarray(queries.T)
    work = partial(_float_part, vectors, columns, made)
    if halves:
        work = partial(_half_part, vectors.view(np.int16), columns * _HALF_SCALE, made)
    threads = usable_cores()
    edges = [len(vectors) * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads, "label-products") as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
    return made


def _float_part(vectors: Stored, columns: Vector, made: Vector, start: int, end: int) -> None:
    """Multiply some rows."""
    for part in _blocks(start, end, columns):
        made[:, part] = (vectors[part] @ columns).T


def _half_part(
    halves: NDArray[np.int16], columns: Vector, made: Vector, start: int, end: int
) -> None:
    """Multiply some rows of halves, as ``_float_part`` does; ``columns`` are already scaled.

    A half's bits, moved to where a float has them, are the number divided by 2¹¹²: three
    operations that numpy vectorises, five times as fast as its conversion.
    """
    room = np.empty((_ROWS, halves.shape[1]), np.int32)
    for part in _blocks(start, end, columns):
        bits = room[: part.stop - part.start]
        np.copyto(bits, halves[part])
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _HALF_BITS, out=bits)
        made[:, part] = (bits.view(np.float32) @ columns).T


def _blocks(start: int, end: int, columns: Vector) -> Iterator[slice]:
    size = min(_ROWS, max(64, _PRODUCT // columns.shape[1]))
    for at in range(start, end, size):
        yield slice(at, min(at + size, end))
