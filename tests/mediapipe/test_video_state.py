"""What is followed in a video: for how long, and for whom."""

import gc

import numpy as np
import pytest

from batch_kit import until
from film_kit import BLACK, Film, filming, shot
from hearth.serving.stream_state import MOST_STREAMS, StreamStates
from node_kit import stub_of
from vision_kit import answers, frame, vision_node


@pytest.fixture
def film() -> Film:
    return Film()


async def test_state_goes_with_the_stream_of_its_client(film):
    film.let_go()
    async with filming(film, 2) as (streams, one, other):
        await one.send(shot(1), shot(1, "second"))
        await other.send(shot(1))
        for camera in (one, one, other):
            await camera.next()
        assert len(streams) == 3
        assert await one.rest() == []
        await until(lambda: bool(gc.collect()) or len(streams) == 1)
        assert len(streams) == 1
        other.cancel()
        await until(lambda: bool(gc.collect()) or len(streams) == 0)


async def test_a_new_stream_of_a_client_begins_anew(film):
    film.let_go()
    async with vision_node(film.task) as node, stub_of(node) as stub:
        for _ in range(2):
            [answer] = await answers(stub, [shot(1)])
            assert answer.json["followed"] == [1]


async def test_the_video_used_longest_ago_is_forgotten_when_there_are_too_many(film):
    film.let_go()
    async with filming(film) as (streams, camera):

        async def followed(stream: str, number: int) -> list[int]:
            await camera.send(shot(number, stream))
            return (await camera.next()).json["followed"]

        for at in range(MOST_STREAMS):
            await followed(str(at), 1)
        assert await followed("0", 2) == [1, 2]
        assert await followed("new", 1) == [1]
        assert len(streams) == MOST_STREAMS
        assert await followed("0", 3) == [1, 2, 3]
        assert await followed("2", 2) == [1, 2]
        assert await followed("1", 2) == [2], "forgotten, and begun anew"
        await camera.rest()


async def test_a_forgotten_video_answers_the_frames_that_still_wait(film):
    async with filming(film) as (streams, camera):
        await camera.send(shot(0, "first"), shot(1, "first"), shot(2, "first", drop="oldest"))
        await film.until_began(0)
        # None of the others is done before the first: they all stand in the gate.
        await camera.send(*(shot(9, str(at)) for at in range(MOST_STREAMS)))
        await until(lambda: len(film.began) == MOST_STREAMS + 1)
        assert len(streams) == MOST_STREAMS
        film.let_go()
        told = await camera.rest()
    first = [answer.json["followed"] for answer in told if answer.cid.startswith("first/")]
    assert first == [[0], [0, 1], [0, 1, 2]]
    assert len(told) == MOST_STREAMS + 3


async def test_whoever_names_no_source_has_videos_as_well():
    videos = StreamStates()
    assert videos.of(None, "cam") is videos.of(None, "cam")
    assert videos.of(None, "cam") is not videos.of(None, "other")
    assert len(videos) == 2


@pytest.mark.parametrize(
    ("frames", "followed"),
    [
        ([{"timestamp_ms": 0}, {"timestamp_ms": 33.3}, {"timestamp_ms": 66.6}], [1, 2, 3]),
        ([{"timestamp_ms": 100}, {"timestamp_ms": 99}, {"timestamp_ms": 130}], [1, 1, 2]),
        ([{"timestamp_ms": 100}, {"timestamp_ms": 100}, {"timestamp_ms": 101}], [1, 1, 2]),
        ([{}, {}, {}], [1, 2, 3]),
    ],
    ids=["forwards", "back", "standing", "unsaid"],
)
async def test_a_video_whose_time_goes_back_begins_anew(film, frames, followed):
    film.let_go()
    async with filming(film) as (_, camera):
        await camera.send(*(shot(number, **meta) for number, meta in enumerate(frames)))
        told = await camera.rest()
    assert [len(answer.json["followed"]) for answer in told] == followed
    moments = [answer.json["moment"] for answer in told]
    for moment, meta in zip(moments, frames, strict=True):
        assert not meta or moment == pytest.approx(meta["timestamp_ms"] / 1000)
    assert frames[0] or moments == sorted(set(moments)), "the node's own clock goes forwards"


async def test_a_video_whose_frames_change_their_size_begins_anew(film):
    film.let_go()
    async with filming(film) as (_, camera):
        for number, shape in enumerate([(2, 2), (2, 2), (2, 4), (2, 4), (4, 2)]):
            pixels = np.zeros((*shape, 3), np.uint8)
            await camera.send(
                frame(pixels, "film", str(number), stream_id="cam", frame_number=number)
            )
        told = await camera.rest()
    assert [answer.json["followed"] for answer in told] == [[0], [0, 1], [2], [2, 3], [4]]


async def test_a_frame_is_told_back_its_number_time_and_video(film):
    film.let_go()
    async with filming(film) as (_, camera):
        await camera.send(shot(7, timestamp_ms=1234.5), frame(BLACK, "film", "bare"))
        told, bare = sorted(await camera.rest(), key=lambda answer: answer.cid != "cam/7")
    assert {key: told.json[key] for key in ("stream_id", "frame_number", "timestamp_ms")} == {
        "stream_id": "cam", "frame_number": 7, "timestamp_ms": 1234.5}  # fmt: skip
    assert told.meta["stream_id"] == "cam"
    assert told.meta["frame_number"] == "7"
    assert told.meta["timestamp_ms"] == "1234.5"
    assert (told.json["width"], told.json["height"]) == (2, 2)
    assert not {"stream_id", "frame_number", "timestamp_ms"} & {*bare.json, *bare.meta}
