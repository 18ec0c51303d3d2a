"""Frames of videos: in order, and nobody's lost, whatever happens to the others."""

import asyncio
from collections import defaultdict

import grpc
import pytest

import reference_kit as kit
from batch_kit import until
from film_kit import BLACK, Caller, Film, filming, numbers_of, shot
from hearth.contract import ml_service_pb2 as pb
from hearth.families.mediapipe.tasks.frames import LONGEST_ID
from hearth.serving.stream_state import StreamState
from node_kit import stub_of
from vision_kit import Answer, answers, frame, vision_node


@pytest.fixture
def film() -> Film:
    return Film()


# --- order ------------------------------------------------------------------------------------


async def test_frames_are_done_one_after_another_in_the_order_they_came(film):
    async with filming(film) as (_, camera):
        await camera.send(*(shot(number) for number in range(8)))
        await film.until_began(0)
        film.let_go()
        told = await camera.rest()
    assert numbers_of(told) == list(range(8))
    assert [answer.json["followed"] for answer in told] == [
        list(range(number + 1)) for number in range(8)
    ]
    assert film.most_together == 1


async def test_without_a_stream_id_pictures_are_done_side_by_side_and_nothing_is_followed(film):
    async with filming(film) as (streams, camera):
        single = [frame(BLACK, "film", str(n), frame_number=n) for n in range(4)]
        await camera.send(*single)
        await until(lambda: film.together == 4)
        film.let_go()
        told = await camera.rest()
        assert len(streams) == 0
    assert all(answer.json["followed"] is None for answer in told)


async def test_two_videos_of_a_client_run_side_by_side_and_share_nothing(film):
    async with filming(film) as (_, camera):
        await camera.send(shot(1, "left"), shot(1, "right"), shot(2, "left"), shot(2, "right"))
        await until(lambda: film.together == 2)
        film.let_go()
        told = await camera.rest()
    assert sorted(film.began[:2]) == [("left", 1), ("right", 1)]
    by_video = defaultdict(list)
    for answer in told:
        by_video[answer.json["stream_id"]].append(answer.json["followed"])
    assert by_video == {"left": [[1], [1, 2]], "right": [[1], [1, 2]]}


async def test_two_clients_may_give_their_videos_the_same_name(film):
    async with filming(film, 2) as (_, one, other):
        await one.send(shot(1), shot(2))
        await other.send(shot(11), shot(12))
        await until(lambda: film.together == 2)
        film.let_go()
        assert [answer.json["followed"] for answer in await one.rest()] == [[1], [1, 2]]
        assert [answer.json["followed"] for answer in await other.rest()] == [[11], [11, 12]]


async def test_two_tasks_on_one_video_follow_it_apart(film):
    async with filming(film) as (streams, camera):
        face = frame(kit.picture("astronaut"), "face_detection", "face", stream_id="cam")
        await camera.send(shot(1), face)
        await film.until_began(1)
        # The face is found while the film's frame still stands.
        assert (await camera.next()).json["count"] == 1
        assert len(streams) == 2
        film.let_go()
        assert numbers_of(await camera.rest()) == [1]


async def test_frames_of_videos_overtake_others_unless_their_client_says_otherwise(film):
    film.let_go()
    async with filming(film) as (_, camera):
        await camera.send(shot(1), shot(2, priority="bulk"), shot(3, priority="interactive"))
        await camera.send(frame(BLACK, "film", "single", frame_number=4))
        await camera.rest()
    assert film.interactive == {1, 3}


# --- dropping ---------------------------------------------------------------------------------


async def test_the_oldest_is_dropped_at_once_never_the_newest_nor_the_one_that_runs(film):
    async with filming(film) as (_, camera):
        await camera.send(shot(0, drop="oldest"))
        await film.until_began(0)
        await camera.send(shot(1, drop="oldest"), shot(2, drop="oldest"))
        dropped = [await camera.next()]
        await camera.send(shot(3, drop="oldest"))
        dropped.append(await camera.next())
        # Frame 0 is running all the while.
        assert film.began == [("cam", 0)]
        film.let_go()
        told = await camera.rest()
    for number, answer in enumerate(dropped, 1):
        assert answer.json == {
            "stream_id": "cam",
            "frame_number": number,
            "dropped": True,
            "model_id": "mediapipe-0.10.21",
        }
        assert answer.meta["dropped"] == "true"
        assert answer.meta["frame_number"] == str(number)
        assert answer.mime == "application/json;schema=film_v1"
    assert numbers_of(told) == [0, 3]
    assert told[1].json["followed"] == [0, 3]
    assert all("dropped" not in answer.json and "dropped" not in answer.meta for answer in told)


async def test_only_frames_that_say_so_are_dropped(film):
    async with filming(film) as (_, camera):
        await camera.send(shot(0))
        await film.until_began(0)
        await camera.send(shot(1), shot(2, drop="oldest"), shot(3, drop="never"))
        await camera.send(shot(4, drop="oldest"))
        assert (await camera.next()).json["frame_number"] == 2
        film.let_go()
        told = await camera.rest()
    assert numbers_of(told) == [0, 1, 3, 4]


async def test_a_newer_frame_of_another_video_drops_nothing(film):
    async with filming(film) as (_, camera):
        await camera.send(shot(0, "a"), shot(0, "b"))
        await until(lambda: film.together == 2)
        await camera.send(shot(1, "a", drop="oldest"), shot(1, "b", drop="oldest"))
        film.let_go()
        told = await camera.rest()
    assert sorted(answer.cid for answer in told) == ["a/0", "a/1", "b/0", "b/1"]
    assert not any(answer.json.get("dropped") for answer in told)


async def test_a_dropped_mask_is_answered_as_json():
    """Also where the task's answers are pictures."""
    async with vision_node() as node, stub_of(node) as stub:
        pixels = kit.picture("grace")
        told = await answers(stub, [
            frame(pixels, task, f"{task}/{number}", stream_id="cam", frame_number=number,
                  drop="oldest")
            for number in range(6) for task in ("selfie_segmentation", "segmentation_effect")
        ])  # fmt: skip
    assert len({answer.cid for answer in told}) == 12
    for answer in told:
        if answer.meta.get("dropped") == "true":
            assert answer.mime.startswith("application/json;schema=se")
            assert answer.json["dropped"] is True
        else:
            assert answer.mime.startswith("image/")
    assert not any(a.meta.get("dropped") for a in told if a.cid.endswith("/5"))


async def test_under_load_each_frame_has_just_one_answer():
    pixels = kit.picture("astronaut")
    async with vision_node() as node, stub_of(node) as stub:

        async def film_many(client: int) -> list[Answer]:
            requests = [
                frame(pixels, "face_detection", f"{stream}/{number}", stream_id=stream,
                      frame_number=number, drop="oldest")
                for number in range(40) for stream in ("a", "b")
            ]  # fmt: skip
            return await answers(stub, requests)

        by_client = await asyncio.gather(*(film_many(client) for client in range(3)))
        statistics = [queue.statistics() for queue in node.models["mediapipe"].require().queues]
    for told in by_client:
        assert len(told) == len({answer.cid for answer in told}) == 80
        done = [answer for answer in told if not answer.json.get("dropped")]
        assert all(answer.json["count"] == 1 for answer in done)
        for stream in ("a", "b"):
            mine = [a.json["frame_number"] for a in done if a.json["stream_id"] == stream]
            assert mine == sorted(mine)
            assert mine[-1] == 39
    assert all(queue.waiting == 0 for queue in statistics)


# --- when something goes wrong ----------------------------------------------------------------


async def test_a_broken_frame_gets_its_error_and_the_video_goes_on(film):
    def broken(number: int, payload: bytes, mime: str) -> pb.InferRequest:
        request = shot(number)
        request.payload, request.payload_mime = payload, mime
        return request

    film.let_go()
    async with filming(film) as (_, camera):
        await camera.send(
            shot(0),
            broken(1, b"\xff\xd8\xff\xe0 cut short", "image/jpeg"),
            broken(2, b"", "image/jpeg"),
            broken(3, bytes(7), "image/x-raw;format=rgb;width=2;height=2"),
            shot(4),
        )
        told = {int(answer.cid.removeprefix("cam/")): answer for answer in await camera.rest()}
    assert "image is broken" in told[1].error
    assert "image is empty" in told[2].error
    assert "has 12 bytes, not 7" in told[3].error
    assert told[4].json["followed"] == [0, 4]


async def test_a_frame_on_which_the_model_fails_gets_its_error_and_the_video_goes_on(film):
    film.fails.add(1)
    film.let_go()
    async with filming(film) as (_, camera):
        await camera.send(*(shot(number) for number in range(3)))
        first, second, third = await camera.rest()
    assert second.error == "the film tears"
    assert third.json["followed"] == [0, 2]
    assert first.json["followed"] == [0]


async def test_wrong_options_of_a_frame_cost_the_video_nothing(film):
    film.let_go()
    async with filming(film) as (streams, camera):
        await camera.send(shot(0), shot(1, drop="all"), shot(2, timestamp_ms=-1), shot(3))
        await camera.send(shot(4, "x" * (LONGEST_ID + 1)), shot(5, "y" * LONGEST_ID))
        told = {answer.cid.partition("/")[2]: answer for answer in await camera.rest()}
        assert len(streams) <= 2
    assert "drop" in told["1"].error
    assert "timestamp_ms" in told["2"].error
    assert told["3"].json["followed"] == [0, 3]
    assert "stream_id has 201 characters" in told["4"].error
    assert told["5"].json["followed"] == [5]


@pytest.fixture(scope="module")
def model(vision_model):
    return vision_model


async def test_a_waiting_frame_that_is_cancelled_leaves_its_place(film, model):
    caller = Caller(film, model)
    frames = [caller.ask(number) for number in range(4)]
    await film.until_began(0)
    frames[1].cancel()
    frames[2].cancel()
    film.let_go()
    assert (await frames[3]).found["followed"] == [0, 3]
    assert (await frames[0]).found["followed"] == [0]
    assert [task.cancelled() for task in frames] == [False, True, True, False]


async def test_a_running_frame_that_is_cancelled_hands_its_turn_on(film, model):
    caller = Caller(film, model)
    frames = [caller.ask(number) for number in range(3)]
    await film.until_began(0)
    frames[0].cancel()
    await film.until_began(1)
    assert film.cancelled == [0]
    film.let_go()
    assert (await frames[1]).found["followed"] == [1]
    assert (await frames[2]).found["followed"] == [1, 2]


async def test_a_frame_cancelled_as_its_turn_comes_hands_it_on():
    """Between the end of the frame before and its own start: the turn must not get lost."""
    video, began = StreamState(), []

    async def wait(number: int) -> None:
        async with video.turn(drop=False):
            began.append(number)

    async with video.turn(drop=False):
        frames = [asyncio.create_task(wait(number)) for number in range(2)]
        await asyncio.sleep(0)  # both stand in line
    # The first has its turn by now, and doesn't know it yet.
    frames[0].cancel()
    await asyncio.wait(frames)
    await wait(2)
    assert began == [1, 2]
    assert frames[0].cancelled()


async def test_cancelled_frames_do_not_count_as_dropped(film, model):
    caller = Caller(film, model)
    frames = [caller.ask(number, drop="oldest") for number in range(2)]
    await film.until_began(0)
    frames[1].cancel()
    newest = caller.ask(2, drop="oldest")
    film.let_go()
    assert (await newest).found["followed"] == [0, 2]
    assert frames[1].cancelled()


async def test_a_client_that_leaves_frees_what_it_waited_for(film):
    async with filming(film, 2) as (_, leaving, staying):
        await leaving.send(*(shot(number) for number in range(3)))
        await staying.send(shot(10))
        await until(lambda: film.together == 2)
        leaving.cancel()
        await until(lambda: film.cancelled == [0])
        film.let_go()
        assert numbers_of(await staying.rest()) == [10]
    assert {number for _, number in film.began} == {0, 10}


async def test_a_single_bad_frame_on_a_stream_ends_it_with_its_status(film):
    """What clients with one request for each stream look at."""
    film.let_go()
    async with vision_node(film.task) as node, stub_of(node) as stub:
        request = shot(1)
        request.payload = b"short"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await answers(stub, [request])
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
