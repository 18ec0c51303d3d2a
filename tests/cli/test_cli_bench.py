"""`hearth bench` as a user runs it, on nodes that are processes of their own."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cli_kit import HEARTH, Done, Lines, environment, hearth_here
from client_kit import Requests, ScriptedNode, echo, serving
from fleet_kit import LabProcess, lab_processes
from hearth.cli.bench.figures import LevelMeasurement, LoadPlan, Sample, percentile
from hearth.contract import ml_service_pb2 as pb

SLOW = 0.05
"""Seconds that each batch (of up to 8) of the slow node takes."""


@pytest.fixture(scope="module")
def labs() -> Iterator[tuple[LabProcess, ...]]:
    """A node that takes its time, and a fast one."""
    with lab_processes(LabProcess(seconds=SLOW), LabProcess()) as nodes:
        yield nodes


def bench(*arguments: object, nodes: tuple[LabProcess, ...] = ()) -> Done:
    named = [word for node in nodes for word in ("--node", node.target)]
    return hearth_here("bench", "upper", "--warmup", "0", *named, *arguments)


def test_so_many_requests_are_always_in_flight(labs: tuple[LabProcess, ...]):
    slow, _ = labs
    done = bench("--text", "a", "-c", "1,8", "--count", "24", "--json", nodes=(slow,))
    assert (done.code, done.err) == (0, "")
    one, eight = done.lines
    for line, level in ((one, 1), (eight, 8)):
        assert (line["loop"], line["in_flight"], line["errors"]) == ("closed", level, {})
        assert line["requests"] == line["answers"] == 24 and line["nodes"] == {slow.target: 24}
        times = line["latency_ms"]
        assert SLOW * 1000 <= times["p50"] <= times["p95"] <= times["p99"]
    assert one["throughput"] <= 1 / SLOW < eight["throughput"]
    assert one["batch"] == 1 < eight["batch"] <= 8


def test_it_goes_on_for_so_many_seconds(labs: tuple[LabProcess, ...]):
    _, fast = labs
    done = bench(
        "--text", "a", "-c", "2", "--duration", "0.5", "--warmup", "0.1", "--json", nodes=(fast,)
    )
    (line,) = done.lines
    assert done.code == 0 and line["seconds"] == 0.5 and line["answers"] > 10
    assert abs(line["throughput"] * 0.5 - line["answers"]) <= 4


def test_an_overloaded_node_is_not_waited_for_and_its_delay_counts(labs: tuple[LabProcess, ...]):
    slow, _ = labs
    rate, count = 4 * 8 / SLOW, 160  # it does a quarter of that
    done = bench("--text", "a", "--rate", rate, "--count", count, "--json", nodes=(slow,))
    (line,) = done.lines
    assert (line["loop"], line["rate"], line["answers"]) == ("open", rate, count)
    needed = count / 8 * SLOW - count / rate  # until the last one's turn, after it was due
    assert line["latency_ms"]["p99"] > 0.8 * needed * 1000
    assert line["unsent"] == 0


@pytest.mark.parametrize("how", [(), ("--poisson",)])
def test_what_could_not_be_sent_is_counted(labs: tuple[LabProcess, ...], how: tuple[str, ...]):
    slow, _ = labs
    how = ("--rate", "200", "--count", "40", "-c", "1", "--json", *how)
    (line,) = bench("--text", "a", *how, nodes=(slow,)).lines
    assert line["unsent"] > 20 and line["unsent"] + line["requests"] == 40


@pytest.mark.parametrize(("rate", "how"), [("0.01", ()), ("1e-9", ("--poisson",))])
def test_a_level_ends_in_time_however_late_the_next_request_is_due(
    labs: tuple[LabProcess, ...], rate: str, how: tuple[str, ...]
):
    _, fast = labs
    begun = time.monotonic()
    how = ("--rate", rate, "--duration", "0.3", "--json", *how)
    [line] = bench("--text", "a", *how, nodes=(fast,)).lines
    assert line["requests"] == line["answers"] == 1
    assert 0.3 <= time.monotonic() - begun < 50  # the next one is due after 100 s


def test_errors_are_counted_by_their_codes_and_stop_nothing(labs: tuple[LabProcess, ...]):
    _, fast = labs
    mixed = bench(
        "--text", "a", "--text", "bad", "-c", "1", "--count", "10", "--json", nodes=(fast,)
    )
    (line,) = mixed.lines
    assert (mixed.code, line["answers"], line["errors"]) == (0, 5, {"INVALID_ARGUMENT": 5})
    failed = bench("--text", "bad", "-c", "1", "--count", "3", nodes=(fast,))
    assert failed.code == 1 and "3 INVALID_ARGUMENT" in failed.out and "bad input" in failed.err


async def test_what_a_node_refuses_is_counted_as_it_calls_it_and_every_option_is_the_tasks():
    asked = set()

    async def infer(requests: Requests, context: Any) -> AsyncIterator[pb.InferResponse]:
        async for request in requests:
            asked.add((request.payload_mime, request.meta["model_id"], request.meta["mime"]))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "members only")
            yield echo(request)

    task = pb.IOTask(name="upper", input_mimes=["text/plain"])
    service = pb.Capability(service_name="any", tasks=[task], protocol_version="1.0.0")
    options = ("-o", "model_id=mine", "-o", "mime=other")
    async with serving(ScriptedNode(infer, (service,))) as address:
        done = await asyncio.to_thread(
            bench, "--text", "a", "-c", "1", "--count", "1", "--json", *options, "--node", address
        )
    (line,) = done.lines
    assert line["errors"] == {"PERMISSION_DENIED": 1}, done.err
    assert asked == {("text/plain;charset=utf-8", "mine", "other")}


def test_folders_and_globs_are_expanded_as_they_are_for_infer(
    labs: tuple[LabProcess, ...], tmp_path: Path
):
    _, fast = labs
    (tmp_path / "notes").mkdir()
    for name, text in (("a.txt", "a"), ("b.txt", "bad"), ("c.png", "bad")):
        (tmp_path / "notes" / name).write_text(text)
    for given, answers in (("notes", 2), ("notes/[a]*", 4)):
        done = bench(tmp_path / given, "-c", "1", "--count", "4", "--json", nodes=(fast,))
        assert done.code == 0, done.err
        assert done.lines[0]["answers"] == answers
    none = bench(tmp_path / "*.jpg", nodes=(fast,))
    assert none.code == 1 and "*.jpg: no file matches this" in none.err


def test_people_see_a_line_for_each_level_and_the_share_of_each_node(
    labs: tuple[LabProcess, ...],
):
    done = bench("--text", "a", "-c", "16,32", "--count", "200", nodes=labs)
    assert done.code == 0
    head, *lines = done.out.splitlines()
    for word in ("REQUESTS/S", "P50", "P95", "P99", "BATCH", "QUEUE", "ERRORS", "NODES"):
        assert word in head.split()
    assert [line.split()[0] for line in lines if line[:9].strip()] == ["16", "32"]
    assert all(f"%  {node.target}" in done.out for node in labs)


def test_without_a_node_it_says_so():
    done = bench("--text", "a", "--node", "127.0.0.1:9")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "127.0.0.1:9" in done.err


def test_what_is_interrupted_is_shown_as_far_as_it_came(labs: tuple[LabProcess, ...]):
    _, fast = labs
    process = subprocess.Popen(
        [*HEARTH, "bench", "upper", "--text", "a", "--node", fast.target, "-c", "1,2,3,4",
         "--duration", "1", "--warmup", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    lines = Lines(process.stdout)
    lines.until(lambda line: '"in_flight":1' in line)
    process.send_signal(signal.SIGINT)
    cut = lines.until(lambda line: '"interrupted":true' in line)
    assert process.wait(10) == 130 and '"in_flight":2' in cut
    lines.close()
    assert process.stderr.read() == "hearth: interrupted: 1 of 4 levels done\n"
    process.stderr.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "0"),
        ("-c", "1;8"),
        ("--rate", "fast"),
        ("--rate", "0"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--rate", "100001"),
        ("--rate", "1e300"),
        ("--rate", "1", "-c", "1,8"),
        ("--poisson",),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(arguments: tuple[str, ...]):
    done = bench("--text", "a", "--node", "127.0.0.1:9", *arguments)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)


def test_percentiles_are_values_that_were_measured():
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, each) for each in (50, 95, 99)] == [50, 95, 99]
    assert percentile([7.0], 99) == 7 and percentile([], 50) is None


def test_what_was_sent_to_warm_up_counts_for_the_throughput_alone():
    samples = [Sample(at / 10, at / 10 + 0.5, "", "n") for at in range(25)]
    measured = LevelMeasurement(LoadPlan(5), begin=1.0, end=2.0, samples=samples)
    figures = measured.figures()
    assert (figures.requests, figures.seconds) == (11, 1.0)
    assert figures.throughput == 11  # came from 1.0 to 2.0, those among them sent since 0.5
    assert figures.latency_ms["p50"] == pytest.approx(500)
