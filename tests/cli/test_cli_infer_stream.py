"""`hearth infer --stream`: parts of answers as they come."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import skimage

from cli_kit import HEARTH, environment, on_terminal
from cli_kit import hearth_here as hearth
from client_kit import Requests, ScriptedNode, echo, serving
from hearth.contract import ml_service_pb2 as pb
from node_kit import NodeThread

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"
DELTA, WHOLE = "text_delta_v1", "text_generation_v1"


def part(request: pb.InferRequest, text: str, *, last: bool = False) -> pb.InferResponse:
    """A delta, or the complete answer."""
    schema = WHOLE if last else DELTA
    return echo(
        request,
        is_final=last,
        result=orjson.dumps({"text": text}),
        result_mime=f"application/json;schema={schema}",
        result_schema=schema,
    )


@asynccontextmanager
async def writer(
    words: Sequence[str] = ("once ", "upon a ", "time"),
    *,
    go_on: asyncio.Event | None = None,
    fails: bool = False,
    options: tuple[str, ...] = ("stream",),
    asked: list[pb.InferRequest] | None = None,
) -> AsyncIterator[str]:
    """A node with the task ``write``, whose answers are these words, by and by where it's asked.

    After the first word it waits for ``go_on``.
    """

    async def infer(requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            if asked is not None:
                asked.append(request)
            for number, word in enumerate(words):
                if request.meta.get("stream") == "true":
                    yield part(request, word)
                if go_on is not None and not number:
                    await go_on.wait()
            if fails:
                error = pb.Error(code=pb.ERROR_CODE_INTERNAL, message="out of ink")
                yield pb.InferResponse(
                    correlation_id=request.correlation_id, is_final=True, error=error, total=1
                )
                continue
            yield part(request, "".join(words), last=True)

    task = pb.IOTask(
        name="write", input_mimes=["text/plain"], limits=dict.fromkeys(options, "flag")
    )
    service = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    async with serving(ScriptedNode(infer, (service,))) as address:
        yield address


async def infer(*arguments: object) -> Any:
    return await asyncio.to_thread(hearth, "infer", "write", *arguments)


async def test_each_part_is_a_line_of_json_and_the_last_has_the_whole_answer():
    async with writer() as address:
        done = await infer("-t", "a", "-t", "b", "--stream", "--node", address)
    assert (done.code, done.err) == (0, "")
    for text, lines in zip("ab", (done.lines[:4], done.lines[4:]), strict=True):
        assert [line["result"]["text"] for line in lines] == [
            "once ", "upon a ", "time", "once upon a time",
        ]  # fmt: skip
        assert [(line["text"], line["part"], line["last"]) for line in lines] == [
            (text, 0, False), (text, 1, False), (text, 2, False), (text, 3, True),
        ]  # fmt: skip


async def test_a_part_is_there_before_the_next_is_made(tmp_path: Path):
    go_on = asyncio.Event()
    async with writer(go_on=go_on) as address:
        process = await asyncio.create_subprocess_exec(
            *HEARTH, "infer", "write", "-t", "a", "--stream", "--node", address,
            stdout=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert process.stdout is not None
        first = orjson.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert (first["result"], first["last"]) == ({"text": "once "}, False)
        go_on.set()
        rest, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0 and len(rest.splitlines()) == 3


async def test_on_a_terminal_text_grows_for_one_input_without_being_asked():
    async with writer() as address:
        shown = await asyncio.to_thread(
            on_terminal, 80, "infer", "write", "-t", "a", "--node", address
        )
    assert shown == "once upon a time\r\n"


async def test_on_a_terminal_each_of_several_inputs_has_its_name_above_its_text():
    async with writer(("one", "\ntwo")) as address:
        shown = await asyncio.to_thread(
            on_terminal, 80, "infer", "write", "-t", "a", "-t", "b", "--stream", "-n", address
        )
    plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert plain.splitlines() == ["“a”", "one", "two", "“b”", "one", "two"]


async def test_what_a_terminal_would_obey_in_a_text_is_written_out():
    async with writer(("\x1b[2J", "gone")) as address:
        shown = await asyncio.to_thread(
            on_terminal, 80, "infer", "write", "-t", "a", "--node", address
        )
    assert shown == "\\x1b[2Jgone\r\n"


async def test_without_stream_a_pipe_gets_one_whole_answer_and_the_node_is_asked_for_no_more():
    asked: list[pb.InferRequest] = []
    async with writer(asked=asked) as address:
        done = await infer("-t", "a", "--json", "--node", address)
    [line] = done.lines
    assert line["result"] == {"text": "once upon a time"} and "part" not in line
    assert "stream" not in asked[0].meta


async def test_a_failure_after_some_parts_is_told_and_the_next_input_is_done_all_the_same():
    async with writer(fails=True) as address:
        done = await infer("-t", "a", "-t", "b", "--stream", "--node", address)
    assert done.code == 1
    last = [line for line in done.lines if line["last"]]
    assert [line["error"]["message"] for line in last] == ["out of ink"] * 2
    assert len(done.lines) == 8


async def test_a_file_that_is_not_there_fails_alone(tmp_path: Path):
    async with writer() as address:
        done = await infer(tmp_path / "no.txt", "-t", "a", "--stream", "--node", address)
    assert done.code == 1
    assert {line["error"] and line["error"]["code"] for line in done.lines if line["last"]} == {
        None, "UNREADABLE",
    }  # fmt: skip


async def test_ctrl_c_amid_a_text_ends_it():
    never = asyncio.Event()
    async with writer(go_on=never) as address:
        process = await asyncio.create_subprocess_exec(
            *HEARTH, "infer", "write", "-t", "a", "--stream", "--node", address,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), 20)
        process.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(process.communicate(), 20)
        never.set()
    assert (process.returncode, said) == (130, b"hearth: interrupted: 0 of 1 done\n")


@pytest.mark.parametrize("how", [("--raw",), ("--out", "a.jsonl")])
async def test_parts_are_printed_alone(how: tuple[str, ...]):
    done = await infer("-t", "a", "--stream", *how)
    assert done.code == 2 and "--stream" in done.err


def test_entries_of_a_composed_request_come_one_by_one(node: NodeThread):
    bad = {"id": "bad", "task": "clip_classify", "options": {"topk": "many"}}
    entries = orjson.dumps(["clip_image_embed", "clip_classify", bad]).decode()
    done = hearth(
        "infer", "compose", COFFEE, "-o", f"entries={entries}", "--stream", "--node", node.target
    )
    assert done.code == 1
    told = {line["entry"]: line for line in done.lines}
    assert told.keys() == {"clip_image_embed", "clip_classify", "bad"}
    assert told["clip_image_embed"]["result"]["dim"] and told["clip_classify"]["result"]["labels"]
    assert told["bad"]["error"]["code"] == "INVALID_ARGUMENT"
    assert [line["part"] for line in done.lines] == [0, 1, 2]
    assert [line["last"] for line in done.lines] == [False, False, True]


def test_entries_of_a_composed_request_have_their_names_on_a_terminal(node: NodeThread):
    shown = on_terminal(
        100, "infer", "compose", COFFEE, "-o", "entries=clip_image_embed,clip_classify", "-o",
        "topk=1", "--stream", "--node", node.target,
    )  # fmt: skip
    assert "clip_image_embed" in shown and "clip_classify" in shown and shown.count("%") == 1
