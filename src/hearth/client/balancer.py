"""Which of several nodes will have done a request soonest."""

import math
import random
from collections.abc import Container, Iterable
from typing import NamedTuple

from hearth.client.latency import Pace
from hearth.client.node_handle import NodeHandle

LAST_RESORT = 1e9
"""Seconds, far beyond any: what a node that has just failed at a request is taken to need."""

Candidates = list[tuple[NodeHandle, Pace]]


class Choice(NamedTuple):
    """The node, if there is one, else when the first of those that rest is back."""

    handle: NodeHandle | None
    wake: float


def soonest(
    handles: Iterable[NodeHandle], task: str, now: float, avoid: Container[NodeHandle] = ()
) -> Choice:
    """Of nodes that can do a task: those to ``avoid`` where there is no other.

    What is ahead of a request at a node, ours and others', times what one takes there.
    """
    wake = math.inf
    awake: Candidates = []
    doubted: Candidates = []
    for handle in handles:
        pace = handle.pace(task)
        if pace.rest_until <= now:
            awake.append((handle, pace))
            continue
        wake = min(wake, pace.rest_until)
        if pace.is_doubted:
            doubted.append((handle, pace))
    # The requests may be at fault: a lone node isn't left for minutes because of them.
    candidates = awake or doubted
    if len(candidates) > 1:
        return Choice(_least(candidates, now, avoid), wake)
    return Choice(candidates[0][0] if candidates else None, wake)


def _least(candidates: Candidates, now: float, avoid: Container[NodeHandle]) -> NodeHandle:
    # A node of which nothing is known yet, or for long, is taken for one like the fastest.
    guess = min((pace.seconds for _, pace in candidates if pace.seconds is not None), default=1.0)
    any_fresh = not all(pace.is_old(now) for _, pace in candidates)

    def need(candidate: tuple[NodeHandle, Pace]) -> tuple[float, bool, float]:
        handle, pace = candidate
        is_tried = any_fresh and not handle.outstanding and pace.is_old(now)
        seconds = (None if is_tried else pace.seconds) or guess
        soon = (handle.outstanding + handle.others + 1) * seconds
        soon += LAST_RESORT if handle in avoid else 0
        # Of equals the untried one; and clients that began together don't all choose the same.
        return soon, seconds == pace.seconds, random.random()

    return min(candidates, key=need)[0]
