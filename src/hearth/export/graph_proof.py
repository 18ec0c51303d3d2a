"""Proof of a rewritten graph: its numbers beside the original's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hearth.backends import Session, SessionOptions
from hearth.backends.registry import open_session
from hearth.errors import HearthError, ModelUnavailable

BATCHES = (1, 4)
"""The sizes of batch that are tried."""

_LEAST_COSINE = 0.99999
_LARGEST_DIFFERENCE = 1e-4


def prove_dynamic_batch(original: Path, freed: Path, samples: NDArray[Any]) -> None:
    """See that a freed graph gives what the original gives for each sample alone.

    ``samples`` are (n, …), at least four. Raises ModelUnavailable.
    """
    expected = outputs(original, samples, 1)
    for batch in BATCHES:
        rewritten = outputs(freed, samples, batch)
        scale = max(1.0, float(np.abs(expected).max()))
        if rewritten.shape != expected.shape or not np.isfinite(rewritten).all():
            raise ModelUnavailable(f"rewritten, it gives other outputs in a batch of {batch}")
        difference = float(np.abs(rewritten - expected).max()) / scale
        cosine = least_cosine(rewritten, expected)
        if cosine < _LEAST_COSINE or difference > _LARGEST_DIFFERENCE:
            raise ModelUnavailable(
                f"rewritten, it gives other numbers in a batch of {batch}: cosine "
                f"{cosine:.6f}, largest difference {difference:.1e}"
            )


def outputs(path: Path, samples: NDArray[Any], batch: int) -> NDArray[np.float64]:
    """Compute the first output for all samples, in batches on the CPU; raises ModelUnavailable."""
    session = open_session(path, SessionOptions(device="cpu"))
    try:
        return np.concatenate(list(_runs(session, samples, batch)))
    except HearthError as error:
        raise ModelUnavailable(f"{path.name} can't run batches of {batch}: {error}") from error
    finally:
        session.close()


def _runs(session: Session, samples: NDArray[Any], batch: int) -> Iterator[NDArray[np.float64]]:
    [graph_input] = session.inputs
    for start in range(0, len(samples), batch):
        feeds = {
            graph_input.name: samples[start : start + batch].astype(graph_input.dtype, copy=False)
        }
        yield next(iter(session.run(feeds).values())).astype(np.float64)


def least_cosine(some: NDArray[Any], others: NDArray[Any]) -> float:
    """Compute the smallest cosine between rows, (n, …) each; -1 where a number isn't finite."""
    one = some.reshape(len(some), -1).astype(np.float64)
    other = others.reshape(len(others), -1).astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return float(cosines.min()) if np.isfinite(cosines).all() else -1.0
