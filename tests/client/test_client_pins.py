"""Answers of two models don't mix: what a map is pinned to, and when it is let go."""

import asyncio
import struct
import time
from typing import Any

import grpc
import pytest

from client_kit import EndStream, Handler, Script, capability, client_of, echo, gathered
from hearth.errors import HearthError

MODEL = "lumen.model.id"


def of_model(model: str, seconds: float = 0.001) -> Handler:
    async def handler(request: Any) -> Any:
        await asyncio.sleep(seconds)
        return echo(request, meta={MODEL: model} if model else {})

    return handler


def node(model: str, advertised: str | None = None, **how: Any) -> Script:
    """A node whose answers are of ``model``."""
    names = (model if advertised is None else advertised,)
    return Script(of_model(model, **how), capability(models=names if names != ("",) else ()))


def numbers(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


async def test_the_first_answer_pins_the_map() -> None:
    async with client_of(node("a"), node("b")) as client:
        answers = await gathered(client.map("echo", numbers(100)))
    assert [answer.body for answer in answers] == numbers(100)
    assert len({answer.model_id for answer in answers}) == 1


async def test_all_nodes_of_the_pinned_model_work() -> None:
    nodes = [node("a"), node("b"), node("a")]
    async with client_of(*nodes) as client:
        answers = await gathered(client.map("echo", numbers(200), model_id="a"))
    assert {answer.model_id for answer in answers} == {"a"}
    assert min(len(nodes[0].seen), len(nodes[2].seen)) > 40 and nodes[1].seen == []


async def test_a_node_whose_answers_are_of_another_model_than_it_says_is_left_out() -> None:
    honest, liar = node("a"), node("b", advertised="a")
    async with client_of(honest, liar) as client, asyncio.timeout(10):
        for _ in range(3):
            answers = await gathered(client.map("echo", numbers(60)))
            assert [answer.error for answer in answers if answer.error] == []
            assert len({answer.model_id for answer in answers}) == 1
        answers = await gathered(client.map("echo", numbers(60), model_id="a"))
    assert {answer.model_id for answer in answers} == {"a"}


async def test_a_model_that_was_asked_for_is_the_only_one_that_answers() -> None:
    async with client_of(node("a"), node("b")) as client:
        for model in "abab":
            assert (await client.infer("echo", b"x", model_id=model)).model_id == model


async def test_a_model_that_nobody_has_is_said_at_once_and_by_name() -> None:
    async with client_of(node("a"), node("b")) as client:
        began = time.monotonic()
        with pytest.raises(HearthError, match=r"model c for echo; there is a, b") as told:
            await client.infer("echo", b"x", model_id="c")
        assert "\n" not in str(told.value)
        answers = await gathered(client.map("echo", numbers(3), model_id="c"))
        assert all(answer.error and "c" in answer.error.message for answer in answers)
        assert time.monotonic() - began < 30  # far from the client's own timeout of a minute


async def test_a_classifier_with_two_models_may_answer_with_either() -> None:
    async def either(request: Any) -> Any:
        kind = "bioclip_classification" if int(request.payload) % 3 else "scene_classification"
        return echo(request, meta={MODEL: kind[0], "source": kind})

    both = ("clip", "bioclip")
    nodes = [Script(either, capability(models=both)) for _ in range(2)]
    async with client_of(*nodes) as client:
        answers = await gathered(client.map("echo", numbers(90)))
    assert [answer.error for answer in answers if answer.error] == []
    assert {answer.model_id for answer in answers} == {"b", "s"}
    assert min(len(each.seen) for each in nodes) > 20


async def test_answers_that_name_no_model_mix_with_those_of_nodes_that_say_the_same() -> None:
    nodes = [node(""), node("")]
    async with client_of(*nodes) as client:
        answers = await gathered(client.map("echo", numbers(60)))
    assert [answer.error for answer in answers if answer.error] == []
    assert min(len(each.seen) for each in nodes) > 10


async def test_a_first_choice_that_dies_before_any_answer_does_not_pin() -> None:
    async def dying(request: Any) -> Any:
        raise EndStream(grpc.StatusCode.UNAVAILABLE, "gone", {"grpc-retry-pushback-ms": "60000"})

    async with client_of(Script(dying, capability(models=("a",))), node("b")) as client:
        async with asyncio.timeout(5):
            answers = await gathered(client.map("echo", numbers(40)))
    assert [answer.error for answer in answers if answer.error] == []
    assert {answer.model_id for answer in answers} == {"b"}


async def test_a_model_that_goes_away_in_a_map_is_waited_for_and_then_said() -> None:
    first, second = node("a", seconds=0.005), node("b", seconds=0.005)
    async with client_of(first, second) as client, asyncio.timeout(60):
        answers = []
        async for answer in client.map("echo", numbers(30), in_flight=4, timeout=0.3):
            answers.append(answer)
            if answer.index == 5:
                gone = first if answer.model_id == "a" else second

                async def refusing(request: Any) -> Any:
                    raise EndStream(
                        grpc.StatusCode.UNAVAILABLE, "gone", {"grpc-retry-pushback-ms": "60000"}
                    )

                gone.handler = refusing
    assert len({answer.model_id for answer in answers if not answer.error}) == 1
    assert answers[-1].error is not None
    assert len(answers) == 30


async def test_vectors_of_texts_can_be_asked_of_the_pictures_model() -> None:
    def vectors(model: str) -> Handler:
        async def handler(request: Any) -> Any:
            assert request.meta["accept"] == "application/octet-stream"
            return echo(request, result=struct.pack("<2f", 1, 0), meta={MODEL: model, "dim": "2"})

        return handler

    tasks = ("clip_image_embed", "clip_text_embed")
    nodes = [Script(vectors(model), capability(*tasks, models=(model,))) for model in "ab"]
    nodes[0]._capabilities[0].tasks[1].input_mimes[:] = ["text/plain"]
    nodes[1]._capabilities[0].tasks[1].input_mimes[:] = ["text/plain"]
    async with client_of(*nodes) as client:
        for _ in range(6):
            image = await client.embed_image(b"\xff\xd8\xff")
            text = await client.embed_text("a cat", model_id=image.model_id)
            assert image.model_id == text.model_id
            assert text.vector.tolist() == [1.0, 0.0]
