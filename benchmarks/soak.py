"""Soak: everything at once, for minutes: does every request get its own answer, once?

Client processes ask a node for CLIP's image and text vectors and classes, for text recognition
and for a model of known speed, over streams of 1 to 40 requests: whole or in chunks, urgent or
not, right or broken, some with deadlines, some cancelled, some of the clients killed. At the end
the counts add up: nothing lost, double or mixed up; the queues are empty.
"""

import io
import json
import pickle
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import _kit as kit
from _clients import closed_loop
from _models import convolutions, jpegs, vit_b_32
from _soak import EXPECTED, Question
from hearth.contract import ml_service_pb2 as pb

RAW = {"accept": "application/octet-stream"}
VICTIM_SECONDS = 4.0
"""How long a client lives that is killed."""


def questions() -> Iterator[Question]:
    """List the questions; the answers are still to come."""
    chance = random.Random(0)
    for number in range(200):
        payload = b"%d" % number * chance.randint(1, 200)
        yield Question("lab", payload, {}, payload[::-1], 2)
        yield Question("noop", payload, {}, payload, 1)
    for picture in jpegs(48):
        yield Question("clip_image_embed", picture, RAW, b"?", 6)
        yield Question("clip_classify", picture, {"topk": "3"}, b"?", 2)
    for number in range(24):
        text = f"the number {number} on a wall".encode()
        yield Question("clip_text_embed", text, RAW, b"?", 2)
    for number in range(4):
        yield Question("ocr", page(number), {}, b"?", 1)
    for task, payload, meta in (
        ("clip_image_embed", b"\xff\xd8\xffno picture", {}),
        ("clip_image_embed", jpegs(1)[0][:2000], {}),
        ("clip_text_embed", b"\xff\xfe", {}),
        ("clip_classify", jpegs(1)[0], {"topk": "0"}),
        ("no_such_task", b"x", {}),
        ("ocr", b"no page", {}),
    ):
        yield Question(task, payload, meta, None, 10)


def page(number: int) -> bytes:
    """Draw a picture with two lines of text."""
    picture = Image.new("RGB", (420, 120), "white")
    draw = ImageDraw.Draw(picture)
    for line, text in enumerate((f"Invoice {100 + number}", f"Total {7 * number + 20},50")):
        draw.text((20, 12 + 52 * line), text, "black", ImageFont.load_default(size=36))
    target = io.BytesIO()
    picture.save(target, "PNG")
    return target.getvalue()


def with_answers(port: int, asked: list[Question]) -> list[Question]:
    """Give the questions with the answers that an idle node gives."""
    answers = {}

    def request_of(number: int) -> pb.InferRequest:
        task, payload, meta, *_ = asked[number]
        return pb.InferRequest(correlation_id=str(number), task=task, payload=payload, meta=meta)

    def learn(number: int, result: bytes) -> bool:
        answers[number] = result
        return True

    closed_loop(port, request_of, count=len(asked), in_flight=1, right=learn)
    unknown = [
        question.task
        for number, question in enumerate(asked)
        if (question.answer is None) == (number in answers)
    ]
    if unknown:
        raise SystemExit(f"an idle node answers otherwise than it should: {Counter(unknown)}")
    return [
        question._replace(answer=answers[number]) if question.answer == b"?" else question
        for number, question in enumerate(asked)
    ]


@contextmanager
def client(port: int, seed: int, seconds: float, file: str) -> "Iterator[subprocess.Popen[str]]":
    """Start a process full of clients."""
    process = subprocess.Popen(
        [sys.executable, str(kit.HERE / "_soak.py"), str(port), str(seed), str(seconds), file],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def soak(node: kit.Serving, seconds: float, file: str) -> tuple[Counter[str], list[float]]:
    """Run two processes to the end and others that are killed; counts, and memory each second."""
    memory = []
    with client(node.port, 1, seconds, file) as first, client(node.port, 2, seconds, file) as other:
        until, seed = kit.now() + seconds, 3
        while kit.now() < until:
            with client(node.port, seed, seconds, file):
                for _ in range(int(VICTIM_SECONDS)):
                    memory.append(node.resident_mb())
                    time.sleep(1)
            seed += 1
        counts = [json.loads(process.communicate()[0]) for process in (first, other)]
    return sum(map(Counter, counts), Counter()), memory


def settled(node: kit.Serving) -> int:
    """Count what is left in the queues once those who were killed have been noticed."""
    left = -1
    for _ in range(50):
        left = sum(queue["waiting"] + queue["running"] for queue in node.queues().values())
        if not left:
            break
        time.sleep(0.1)
    return left


def main() -> int:
    """Soak and report."""
    minutes = ("--minutes", {"type": float, "default": 5.0, "help": "how long (5)"})
    chosen = kit.options(__doc__ or "", minutes)
    seconds = 40.0 if chosen.quick else 60 * chosen.minutes
    kit.end_after(kit.QUICK_SECONDS + 2 * seconds)
    settings = {
        "services": "clip,ocr", "clip.onnx_image": convolutions(),
        "clip.onnx_text": vit_b_32() / "textual" / "model.onnx",
        # Small enough that answers come from the cache and fall out of it.
        "cache_entries": 32,
    }  # fmt: skip
    with (
        kit.server("_servers.py", "soak", *kit.flags(settings)) as node,
        tempfile.TemporaryDirectory() as scratch,
    ):
        file = Path(scratch, "questions")
        file.write_bytes(pickle.dumps(with_answers(node.port, list(questions()))))
        counts, memory = soak(node, seconds, str(file))
        left = settled(node)
    # What start-up and the first of every kind take is there after a quarter.
    early, late = memory[len(memory) // 4], max(memory[-len(memory) // 4 :])
    broken = {name: count for name, count in counts.items() if name not in {*EXPECTED, "asked"}}
    sum_of_all = sum(count for name, count in counts.items() if name not in ("asked", "strange"))
    return kit.report(
        "soak",
        ["what became of them", "requests"],
        [*counts.most_common(), ("resident MB after a quarter", early), ("and at the end", late)],
        [
            kit.Goal("lost", counts["lost"], most=0),
            kit.Goal("double or strange", counts["strange"], most=0),
            kit.Goal("mixed up", counts["wrong"], most=0),
            kit.Goal("failed in any other way", sum(broken.values()), most=0),
            kit.Goal("asked, less all that is counted", abs(counts["asked"] - sum_of_all), most=0),
            kit.Goal("left in the queues", left, most=0),
            kit.Goal("resident memory, end to a quarter", late / early, most=1.15),
        ],
        check=chosen.check,
        seconds=seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
