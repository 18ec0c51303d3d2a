"""The use case of every door: a request in, a whole result or a stream of parts out."""

import time

from hearth.errors import HearthError, NotReady
from hearth.serving.admission import Admission, StreamBudget
from hearth.serving.part_stream import PartStream
from hearth.serving.readiness import SHUTTING_DOWN
from hearth.serving.request_metrics import RequestMetrics
from hearth.serving.router import Router
from hearth.serving.status import CANCELLED, OK, code_of, is_the_end
from hearth.tasks.answer import Result
from hearth.tasks.task import Request


class InferenceService:
    """Answers requests, whichever door they came by, and counts what becomes of them.

    A door opens a ``StreamBudget`` for each of its clients (``admission.open``), takes from it
    for each request (``try_take``) and gives back when the answer is written.
    """

    def __init__(self, router: Router, admission: Admission, metrics: RequestMetrics) -> None:
        self.router = router
        self.admission = admission
        self.metrics = metrics
        self.is_draining = False
        """Whether requests that come now are refused."""

    async def infer(self, request: Request, budget: StreamBudget) -> Result | PartStream:
        """Answer a request that has its part of the budget; a stream is to be closed.

        Raises UnknownTask, InvalidInput, NotReady, Overloaded, DeadlinePassed, ModelFailed; what
        else comes up is a fault of the node's.
        """
        started = time.perf_counter()
        name, code = "", CANCELLED
        try:
            task = self.router.find(request.task)
            name = task.name
            if self.is_draining:
                raise NotReady(SHUTTING_DOWN)
            answer = await self.router.answer(task, request)
            if not isinstance(answer, Result):
                parts = PartStream(
                    answer,
                    request,
                    task=name,
                    started=started,
                    budget=budget,
                    metrics=self.metrics,
                )
                code = ""  # it is counted when it ends
                return parts
            budget.served()
            code = OK
            return answer
        except BaseException as error:  # also a panic in a native library
            if not is_the_end(error):
                code = code_of(error).grpc
            raise
        finally:
            if code:
                seconds = time.perf_counter() - started
                self.metrics.count(name, code, seconds, request.timings)

    def reject(self, task: str, error: HearthError) -> None:
        """Count a request that can't be taken on; ``task`` is what it names, if anything."""
        self.metrics.count(self.router.name_of(task), code_of(error).grpc, 0.0, None)

    def drain(self) -> None:
        """Answer no request that comes from now on, nor one whose model is still loading."""
        self.is_draining = True
        self.router.readiness.end()
