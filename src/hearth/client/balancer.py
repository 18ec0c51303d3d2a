"""Choice of the node that will have done a request soonest."""

import math
import random
from collections.abc import Container, Sequence
from typing import NamedTuple

from hearth.client.latency import NodeLatency
from hearth.client.node_handle import NodeHandle

LAST_RESORT = 1e9
"""Seconds, far beyond any: a node that has just failed at a request is taken to need them."""

Candidates = list[tuple[NodeHandle, NodeLatency]]


class NodeChoice(NamedTuple):
    """The node, if there is one, else the time at which the first of those that rest is back."""

    handle: NodeHandle | None
    wake: float


def choose(
    handles: Sequence[NodeHandle], task: str, now: float, avoid: Container[NodeHandle] = ()
) -> NodeChoice:
    """Choose of nodes that can do a task; those to ``avoid`` where there is no other.

    What is ahead of a request at a node, ours and others', times what one takes there.
    """
    if len(handles) == 1:
        breaker = handles[0].task_health(task).breaker
        if breaker.rest_until <= now or breaker.is_doubted:
            return NodeChoice(handles[0], math.inf)
        return NodeChoice(None, breaker.rest_until)
    wake = math.inf
    awake: Candidates = []
    doubted: Candidates = []
    for handle in handles:
        latency, breaker = handle.task_health(task)
        if breaker.rest_until <= now:
            awake.append((handle, latency))
            continue
        wake = min(wake, breaker.rest_until)
        if breaker.is_doubted:
            doubted.append((handle, latency))
    # The requests may be at fault: a lone node isn't left for minutes because of them.
    candidates = awake or doubted
    if len(candidates) > 1:
        return NodeChoice(_least(candidates, now, avoid), wake)
    return NodeChoice(candidates[0][0] if candidates else None, wake)


def _least(candidates: Candidates, now: float, avoid: Container[NodeHandle]) -> NodeHandle:
    # A node of which nothing is known yet, or for long, is taken for one like the fastest.
    guess = min(
        (latency.seconds for _, latency in candidates if latency.seconds is not None), default=1.0
    )
    any_fresh = not all(latency.is_old(now) for _, latency in candidates)

    def need(candidate: tuple[NodeHandle, NodeLatency]) -> tuple[float, bool, float]:
        handle, latency = candidate
        is_tried = any_fresh and not handle.outstanding and latency.is_old(now)
        seconds = (None if is_tried else latency.seconds) or guess
        soon = (handle.outstanding + handle.others + 1) * seconds
        soon += LAST_RESORT if handle in avoid else 0
        # Of equals the untried one; and clients that began together don't all choose the same.
        return soon, seconds == latency.seconds, random.random()

    return min(candidates, key=need)[0]
