"""Vectors of labels: made unit, stored as float32 or float16, and multiplied with a query's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hearth.machine import usable_cores

Vector = NDArray[np.float32]
Stored = NDArray[np.float32] | NDArray[np.float16]
Dtype = Literal["float32", "float16"]

BLOCK = 8192
"""Vectors that are converted at once: 25 MB at 768 numbers each."""

_PRODUCT_ROWS = 1024
"""Rows of a product that stay in the processor's cache (450,000 × 768, 8 queries: 112 ms in
blocks of 1024 or 256, 143 ms in one piece)."""

_HALF_ROWS = 512
_HALF_PRODUCT = 1024
"""Rows × queries of one product by one of several threads. From about 1500 on OpenBLAS uses
threads of its own, and ours stand in one another's way: twice the time and more."""

_HALF_BITS = np.int32(-0x70002000)
"""0x8FFFE000: where a half's sign, exponent and mantissa are in a float, moved there."""
_HALF_SCALE = np.float32(2.0**112)
"""Between the two exponents' biases, 127 and 15."""
_SMALLEST_NORMAL_HALF = 2.0**-14


def unit(vectors: NDArray[Any]) -> Vector:
    """Each row at length 1, as float32; a row of zeros stays what it is."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def stored(vectors: Vector, dtype: Dtype) -> Stored:
    """Unit vectors as they are kept.

    Of halves those below 2⁻¹⁴ become 0: there they are no more exact, and some processors
    take a hundred times longer to multiply what is that small.
    """
    if dtype == "float32":
        return vectors
    return np.where(np.abs(vectors) < _SMALLEST_NORMAL_HALF, 0, vectors).astype(np.float16)


def products(vectors: Stored, queries: Vector) -> Vector:
    """Every vector (n, dim) with every query (queries, dim): float32 (queries, n)."""
    if vectors.dtype == np.float16:
        return _half_products(vectors, queries)
    if len(queries) == 1:
        return np.asarray(vectors @ queries[0], np.float32)[None]
    made = np.empty((len(queries), len(vectors)), np.float32)
    columns = np.ascontiguousarray(queries.T)
    for part in _blocks(0, len(vectors), _PRODUCT_ROWS):
        made[:, part] = (vectors[part] @ columns).T
    return made


def _half_products(vectors: NDArray[Any], queries: Vector) -> Vector:
    """As ``products``, from float16: converted block by block on all cores, never as a whole."""
    made = np.empty((len(queries), len(vectors)), np.float32)
    columns = np.ascontiguousarray(queries.T) * _HALF_SCALE
    threads = usable_cores()
    edges = [len(vectors) * part // threads for part in range(threads + 1)]
    work = partial(_half_part, vectors.view(np.int16), columns, made)
    with ThreadPoolExecutor(threads, "label-products") as pool:
        list(pool.map(work, edges[:-1], edges[1:]))
    return made


def _half_part(
    halves: NDArray[np.int16], columns: Vector, made: Vector, start: int, end: int
) -> None:
    """The products of some rows; ``columns`` are already scaled.

    A half's bits, moved to where a float has them, are the number divided by 2¹¹²: three
    operations that numpy vectorises, five times as fast as its conversion.
    """
    size = min(_HALF_ROWS, max(64, _HALF_PRODUCT // columns.shape[1]))
    room = np.empty((size, halves.shape[1]), np.int32)
    for part in _blocks(start, end, size):
        bits = room[: part.stop - part.start]
        np.copyto(bits, halves[part])
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, _HALF_BITS, out=bits)
        made[:, part] = (bits.view(np.float32) @ columns).T


def _blocks(start: int, end: int, size: int) -> Iterator[slice]:
    for at in range(start, end, size):
        yield slice(at, min(at + size, end))
