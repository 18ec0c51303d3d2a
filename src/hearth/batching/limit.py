"""Bounds that may change while they are in use."""


class Limit:
    """Bound that many share; a new ``value`` counts for all of them from then on."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value
        """Number that may be set at any time, from any thread."""


def as_limit(bound: int | Limit) -> Limit:
    """Make a number a limit of its own."""
    return bound if isinstance(bound, Limit) else Limit(bound)
