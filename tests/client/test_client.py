"""The streaming client, against nodes that keep the contract and nodes that break it."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from client_kit import Requests, ScriptedNode, echo, in_pieces, scripted, serving
from hearth.client import Connection, Job, Outcome, sources
from hearth.client.addresses import with_port
from hearth.client.framing import CHUNK_SIZE, WHOLE_LIMIT
from hearth.contract import ml_service_pb2 as pb
from hearth.errors import DeadlinePassed, Unavailable


async def collect(connection: Connection, jobs: list[Job], **options: object) -> list[Outcome]:
    return [outcome async for outcome in connection.infer_many(jobs, **options)]


async def answer_all(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
    async for request in requests:
        yield echo(request)


def jobs_of(*payloads: bytes) -> list[Job]:
    return [Job("echo", payload, tag=n) for n, payload in enumerate(payloads)]


async def test_every_job_gets_its_own_answer_over_one_call() -> None:
    calls = 0

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        nonlocal calls
        calls += 1
        held = [request async for request in requests]
        for request in reversed(held):  # never the order in which they came
            yield echo(request)

    async with scripted(infer) as address, Connection(address) as node:
        outcomes = await collect(node, jobs_of(*(b"%d" % n for n in range(50))), window=50)
    assert calls == 1
    assert [outcome.job.tag for outcome in outcomes] == list(reversed(range(50)))
    assert all(outcome.body == b"%d" % outcome.job.tag for outcome in outcomes)


async def test_options_and_mime_reach_the_node_and_what_it_says_comes_back() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield echo(
                request,
                result=b'{"n": 1}',
                result_mime="application/json;schema=labels_v1",
                result_schema="labels_v1",
                meta={"got": f"{request.task} {request.payload_mime} {request.meta['topk']}"},
            )

    async with scripted(infer) as address, Connection(address) as node:
        outcome = await node.infer(Job("see", b"x", "image/png", {"topk": "3"}))
    assert outcome.json() == {"n": 1} and outcome.is_json and outcome.schema == "labels_v1"
    assert outcome.meta["got"] == "see image/png 3"


async def test_no_more_than_the_window_is_in_flight_or_drawn() -> None:
    open_now = most = drawn = 0
    release = asyncio.Event()

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        nonlocal open_now, most
        held: list[pb.InferRequest] = []
        async for request in requests:
            held.append(request)
            open_now += 1
            most = max(most, open_now)
            if len(held) == 4:
                release.set()
                for each in held:
                    open_now -= 1
                    yield echo(each)
                held.clear()

    def jobs() -> Iterator[Job]:
        nonlocal drawn
        for n in range(20):
            drawn += 1
            yield Job("echo", b"%d" % n)

    async with scripted(infer) as address, Connection(address) as node:
        outcomes = node.infer_many(jobs(), window=4)
        async with contextlib.aclosing(outcomes):
            await anext(outcomes)
            await release.wait()
            # A caller that is slow to take outcomes slows the drawing of jobs too.
            assert drawn <= 6
            rest = [outcome async for outcome in outcomes]
    assert len(rest) == 19 and most <= 4


async def test_large_payloads_travel_as_chunks() -> None:
    payload = bytes(range(256)) * ((WHOLE_LIMIT + CHUNK_SIZE) // 256) + b"tail"
    seen: list[tuple[int, int, int, int, str]] = []

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        together = b""
        async for request in requests:
            size = len(request.payload)
            seen.append((request.seq, request.total, request.offset, size, request.meta["a"]))
            together += request.payload
            if request.seq + 1 == request.total:
                yield echo(request, result=b"same" if together == payload else b"different")

    async with scripted(infer) as address, Connection(address) as node:
        outcome = await node.infer(Job("echo", payload, meta={"a": "b"}))
    assert outcome.body == b"same"
    assert [piece[:3] for piece in seen] == [(n, 4, n * CHUNK_SIZE) for n in range(4)]
    assert [piece[3] for piece in seen] == [CHUNK_SIZE] * 3 + [4]
    assert {piece[4] for piece in seen} == {"b"}


async def test_a_payload_at_the_limit_is_one_message() -> None:
    totals: list[int] = []

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            totals.append(request.total)
            yield echo(request, result=b"ok")

    async with scripted(infer) as address, Connection(address) as node:
        await node.infer(Job("echo", bytes(WHOLE_LIMIT)))
    assert totals == [0]


async def test_chunked_answers_are_put_together_even_interleaved() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        held = [in_pieces(request, [b"ab", b"", b"c"]) async for request in requests]
        for row in zip(*held, strict=True):
            for piece in row:
                yield piece

    async with scripted(infer) as address, Connection(address) as node:
        outcomes = await collect(node, jobs_of(b"1", b"2", b"3"))
    assert [outcome.body for outcome in outcomes] == [b"abc"] * 3


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"seq": lambda seq, _: min(seq, 1)}, "wrong chunks"),
        ({"offset": lambda seq, right: right + (seq == 2)}, "at byte 5, not at 4"),
        ({"total": lambda seq, right: right + (seq == 0)}, "wrong chunks"),
        ({"total": lambda seq, _: 4}, "3 of 4 chunks"),
        ({"is_final": lambda seq, _: seq == 1}, "2 of 3 chunks"),
    ],
)
async def test_an_answer_whose_chunks_do_not_fit_is_an_error_of_that_job_alone(
    faults: dict[str, object], reason: str
) -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.payload == b"good":
                yield echo(request)
            else:
                for piece in in_pieces(request, [b"ab", b"cd", b"ef"], **faults):
                    yield piece

    async with scripted(infer) as address, Connection(address) as node:
        bad, good = await collect(node, jobs_of(b"bad", b"good"))
    assert bad.error is not None and bad.error.code == "INTERNAL" and reason in bad.error.message
    assert good.body == b"good"


async def test_an_error_in_band_leaves_the_others_alone() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.payload == b"bad":
                error = pb.Error(code=pb.ERROR_CODE_INVALID_ARGUMENT, message="not an image")
                yield pb.InferResponse(
                    correlation_id=request.correlation_id, is_final=True, error=error
                )
            else:
                yield echo(request)

    async with scripted(infer) as address, Connection(address) as node:
        outcomes = await collect(node, jobs_of(b"a", b"bad", b"b"))
    assert [outcome.body for outcome in outcomes] == [b"a", b"", b"b"]
    failure = outcomes[1].error
    assert failure is not None and str(failure) == "not an image (INVALID_ARGUMENT)"


async def test_a_status_is_the_error_of_the_only_request() -> None:
    async def infer(requests: Requests, context: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no task {request.task}")
            yield echo(request)

    async with scripted(infer) as address, Connection(address) as node:
        outcome = await node.infer(Job("fly", b""))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.message) == ("NOT_FOUND", "no task fly")


async def test_a_status_is_the_error_of_all_that_have_no_answer_yet() -> None:
    async def infer(requests: Requests, context: object) -> AsyncIterator[pb.InferResponse]:
        count = 0
        async for request in requests:
            count += 1
            if count == 3:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            if count == 1:
                yield echo(request)

    payloads = [b"%d" % n for n in range(40)]
    async with scripted(infer) as address, Connection(address) as node:
        outcomes = await collect(node, jobs_of(*payloads), window=8)
    assert sorted(outcome.job.tag for outcome in outcomes) == list(range(40))
    assert [outcome.job.tag for outcome in outcomes if outcome.error is None] == [0]
    assert {outcome.error.message for outcome in outcomes if outcome.error} == {"going down"}


async def test_a_stream_that_ends_early_without_a_status_leaves_no_job_waiting() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        yield echo(await anext(aiter(requests)))

    async with scripted(infer) as address, Connection(address) as node:
        outcomes = await collect(node, jobs_of(b"a", b"b", b"c"))
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, True]
    assert outcomes[1].error is not None and outcomes[1].error.code == "UNAVAILABLE"


async def test_the_deadline_ends_a_call_that_hangs() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.payload == b"hang":
                await asyncio.Event().wait()
            yield echo(request)

    async with scripted(infer) as address, Connection(address) as node:
        quick, hung = await collect(node, jobs_of(b"quick", b"hang"), timeout=0.4)
    assert quick.error is None
    assert hung.error is not None and hung.error.code == "DEADLINE_EXCEEDED"


async def test_leaving_early_cancels_the_call() -> None:
    over = asyncio.Event()

    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        try:
            async for request in requests:
                yield echo(request)
        finally:
            over.set()

    async def endless() -> AsyncIterator[Job]:
        yield Job("echo", b"first")
        await asyncio.Event().wait()

    async with scripted(infer) as address, Connection(address) as node:
        async with contextlib.aclosing(node.infer_many(endless())) as outcomes:
            assert (await anext(outcomes)).body == b"first"
        async with asyncio.timeout(5):
            await over.wait()  # these requests have no other end


async def test_closing_the_connection_fails_what_is_open() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if request.payload == b"quick":
                yield echo(request)

    async with scripted(infer) as address:
        node = Connection(address)
        outcomes = node.infer_many(jobs_of(b"quick", b"never"))
        async with contextlib.aclosing(outcomes), asyncio.timeout(5):
            assert (await anext(outcomes)).error is None
            await node.close()
            (never,) = [outcome async for outcome in outcomes]
    assert never.error is not None


async def test_what_the_jobs_raise_reaches_the_caller() -> None:
    def jobs() -> Iterator[Job]:
        yield Job("echo", b"first")
        raise FileNotFoundError("gone.jpg")

    async with scripted(answer_all) as address, Connection(address) as node:
        with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
            await collect(node, jobs())  # type: ignore[arg-type]


async def test_no_jobs_give_no_outcomes() -> None:
    async with scripted(answer_all) as address, Connection(address) as node:
        assert await collect(node, []) == []


async def test_answers_to_unknown_ids_are_ignored() -> None:
    async def infer(requests: Requests, _: object) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            yield echo(request, correlation_id="a stranger's")
            yield echo(request)
            yield echo(request)

    async with scripted(infer) as address, Connection(address) as node:
        assert len(await collect(node, jobs_of(b"a", b"b"))) == 2


async def test_nobody_at_the_address_is_said_in_plain_words() -> None:
    async with Connection("127.0.0.1:1") as node:
        outcome = await node.infer(Job("echo", b""))
        assert outcome.error is not None
        assert outcome.error.message == "can't connect: connection refused"
        with pytest.raises(Unavailable, match=r"^127\.0\.0\.1:1: can't connect: conn"):
            await node.health()


async def test_a_server_that_is_no_node_is_said_in_plain_words() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Connection(f"127.0.0.1:{port}") as node:
        with pytest.raises(Unavailable, match="no hearth node answers there"):
            await node.capabilities()
    await server.stop(None)


CLIP = pb.Capability(
    service_name="clip",
    model_ids=["tiny"],
    runtime="onnxrt",
    precisions=["fp32"],
    extra={"state": "ready"},
    tasks=[
        pb.IOTask(name="clip_embed", input_mimes=["text/plain", "text/plain;charset=utf-8"]),
        pb.IOTask(name="clip_classify", input_mimes=["image/jpeg"]),
    ],
    protocol_version="1.0.0",
)


async def test_capabilities_come_as_plain_values() -> None:
    async with serving(ScriptedNode(answer_all, (CLIP,))) as address, Connection(address) as node:
        await node.health()
        found = await node.capabilities()
    (clip,) = found.services
    assert (clip.name, clip.models, clip.runtime) == ("clip", ("tiny",), "onnxrt")
    assert clip.trouble is None and list(found.tasks) == ["clip_embed", "clip_classify"]
    assert found.tasks["clip_embed"].takes_text and not found.tasks["clip_classify"].takes_text


async def test_a_node_that_still_loads_is_asked_again_for_as_long_as_patience_lasts() -> None:
    script = ScriptedNode(answer_all, (CLIP,))
    async with serving(script) as address, Connection(address) as node:
        script.loading = 2
        with pytest.raises(Unavailable, match="still loading"):
            await node.capabilities()
        assert (await node.capabilities(patience=5)).services


async def test_a_node_that_is_frozen_is_given_up_in_time() -> None:
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the kernel accepts, nobody reads
        address = f"127.0.0.1:{frozen.getsockname()[1]}"
        async with Connection(address) as node:
            with pytest.raises(DeadlinePassed, match="no answer in time"):
                await node.capabilities(timeout=0.3)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("payload", "name", "expected"),
    [
        (b"\xff\xd8\xff\xe0", "x.png", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\0", "", "image/png"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "", "image/webp"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "", "image/avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "", "image/avif"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf", "x.jpg", "image/heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "", "image/heic"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "", "image/heif"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "x.mp4", "video/mp4"),
        (b"\xff\x0a\0\1", "", "image/jxl"),
        (b"II*\0\x08\0\0\0", "scan.tif", "image/tiff"),
        (b"MM\0*\0\0\0\x08", "DSC_1.NEF", "image/x-nikon-nef"),
        (b"II*\0\x08\0\0\0", "a.dng", "image/x-adobe-dng"),
        (b"BM\x36\0\0\0\0\0", "", "image/bmp"),
        (b"BMW and Audi", "", sources.TEXT),
        ("ein Käfer".encode(), "x.jpg", sources.TEXT),
        (b"", "", sources.TEXT),
        (b"a" * (sources.HEAD - 1) + "é".encode(), "", sources.TEXT),
        (b"\0\1\2\3", "x.pdf", "application/pdf"),
        (b"\0\1\2\3", "", sources.RAW),
        (b"caf\xe9", "", sources.RAW),
    ],
)
def test_a_payload_is_told_by_its_bytes_first(payload: bytes, name: str, expected: str) -> None:
    assert sources.guess_mime(payload, name) == expected


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nas", "nas:50051"),
        ("nas:1", "nas:1"),
        ("nas:", "nas:50051"),
        (":1", "localhost:1"),
        ("10.0.0.7", "10.0.0.7:50051"),
        ("fe80::1%eth0", "[fe80::1%eth0]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:1", "[::1]:1"),
    ],
)
def test_a_node_may_be_named_without_its_port(given: str, meant: str) -> None:
    assert with_port(given) == meant


def test_the_client_imports_no_server_code() -> None:
    script = (
        "import sys, hearth, hearth.client; "
        "print(*(name for name in sys.modules if name.startswith(('hearth.', 'numpy', 'PIL'))))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    allowed = (
        "hearth.blocking",
        "hearth.catalog",
        "hearth.client",
        "hearth.contract",
        "hearth.discovery",
        "hearth._version",
        "hearth.environment",
        "hearth.errors",
        "hearth.iso_media",
        "hearth.known",
    )
    assert [name for name in loaded if not name.startswith(allowed)] == []
