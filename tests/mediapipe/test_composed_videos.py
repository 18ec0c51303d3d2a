"""Videos of which each frame is a composed request."""

import io

import numpy as np
import orjson
from PIL import Image

from hearth.contract import ml_service_pb2 as pb
from hearth.families.compose.tasks import COMPOSE_TASKS
from hearth.families.mediapipe.tasks import MEDIAPIPE_TASKS
from node_kit import stub_of, talk
from vision_kit import vision_node

FRAMES = 40


def jpeg(number: int) -> bytes:
    """Noise of another size each time but for the pixels: files that take unequal time."""
    seed = np.random.default_rng(number)
    pixels = seed.integers(0, 255 if number % 3 else 2, (480, 640, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


async def test_the_frames_of_a_composed_video_keep_their_order_and_both_tasks_follow_it():
    entries = orjson.dumps(["face_detection", {"task": "face_mesh", "needs": []}]).decode()
    async with vision_node(*MEDIAPIPE_TASKS, *COMPOSE_TASKS) as node, stub_of(node) as stub:
        requests = [
            pb.InferRequest(
                correlation_id=str(number),
                task="compose",
                payload=jpeg(number),
                meta={
                    "entries": entries,
                    "stream_id": "camera",
                    "frame_number": str(number),
                    "timestamp_ms": str(40 * number),
                },
            )
            for number in range(FRAMES)
        ]
        responses = await talk(stub, requests)
    for task in ("face_detection", "face_mesh"):
        told = [
            orjson.loads(response.result)["frame_number"]
            for response in responses
            if response.meta["task"] == task
        ]
        assert told == list(range(FRAMES)), task
