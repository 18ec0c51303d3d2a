"""Cost of a picture in the node beside a loop that was tuned for it alone.

``clip_image_embed`` of 224-pixel JPEGs with a model of 1 ms, one stream with 1, 4, 16 and 64
requests in flight: the node against a bare grpc.aio stream that decodes into one buffer and runs
the same session without a queue (``_tuned.py``). Server and loop have one core each time, the
client the other. The vectors must be the same.
"""

import statistics
import sys

import numpy as np

import _kit as kit
from _clients import RequestOf, closed_loop
from _models import convolutions, jpegs
from batching import pictures_of

IN_FLIGHT = (1, 4, 16, 64)


class SameVectors:
    """Whether each answer is the vector that the first server gave for the same picture."""

    def __init__(self, pictures: int) -> None:
        self._vectors: list[np.ndarray | None] = [None] * pictures

    def __call__(self, number: int, result: bytes) -> bool:
        vector = np.frombuffer(result, "<f4")
        place = number % len(self._vectors)
        known = self._vectors[place]
        if known is None:
            self._vectors[place] = vector
            return True
        return bool(np.allclose(vector, known, atol=1e-5))


def measure(
    serving: kit.Serving, request_of: RequestOf, right: SameVectors, count: int, in_flight: int
) -> tuple[float, float]:
    """Pictures a second, and the server's CPU in microseconds for each."""
    before = serving.cpu_seconds()
    load = closed_loop(
        serving.port, request_of, count=count, in_flight=in_flight, right=right
    ).all_right()
    return load.rate(), (serving.cpu_seconds() - before) / count * 1e6


def main() -> int:
    """Measure in turns and report."""
    chosen = kit.options(__doc__ or "")
    rounds, count = (5, 300) if chosen.quick else (15, 600)
    model, pictures = str(convolutions()), jpegs(64)
    request_of, right = pictures_of(pictures), SameVectors(len(pictures))
    rows, figures = [], {}
    with (
        kit.confined(kit.CLIENT_CORE),
        kit.server("_tuned.py", model, cores=kit.SERVER_CORE) as tuned,
        kit.server(
            "_servers.py", "clip", *kit.flags({"clip.onnx_image": model}), cores=kit.SERVER_CORE
        ) as node,
    ):
        for serving in (tuned, node):
            measure(serving, request_of, right, count, 16)
        for in_flight in IN_FLIGHT:
            theirs, ours = [], []
            for _ in range(rounds):
                theirs.append(measure(tuned, request_of, right, count, in_flight))
                ours.append(measure(node, request_of, right, count, in_flight))
            for name, taken in (("tuned loop", theirs), ("hearth", ours)):
                rates, costs = zip(*taken, strict=True)
                rows.append([f"{name}, {in_flight} in flight",
                             statistics.median(rates), statistics.median(costs)])  # fmt: skip
            (our_rates, our_costs), (rates, costs) = (
                zip(*each, strict=True) for each in (ours, theirs)
            )
            figures[f"CPU for each picture at {in_flight} in flight, against the tuned loop"] = (
                kit.median_ratio(our_costs, costs)
            )
            figures[f"pictures a second at {in_flight} in flight, against the tuned loop"] = (
                kit.median_ratio(our_rates, rates)
            )
    goals = kit.goals_of("images", figures)
    columns = ["what", "a second", "server CPU µs each"]
    return kit.report("images", columns, rows, goals, check=chosen.check, figures=figures)


if __name__ == "__main__":
    sys.exit(main())
