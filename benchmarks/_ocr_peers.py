"""Two other ways to read a page with the same models, as a process that ``ocr.py`` asks.

``rapidocr``: its own pipeline as it comes, classifier included. ``overview``: the way of a photo
server of this field: detection on the picture at 736 pixels, recognition of lines cut from the
original, six at a time and padded to the longest, no classifier. Both with ONNX Runtime's
defaults, as these are, and as many threads as there are cores.

Reads lines of JSON, {"way", "files", "at_once"}, and answers with one: the lines of each file,
and the CPU and wall seconds of all.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import rapidocr
from PIL import Image
from rapidocr import RapidOCR
from rapidocr.ch_ppocr_det.main import TextDetector
from rapidocr.ch_ppocr_det.utils import DBPostProcess
from rapidocr.ch_ppocr_rec.main import TextRecognizer
from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
from rapidocr.utils.process_img import get_rotate_crop_image

LONG_SIDE, LINES_AT_ONCE, LEAST_CONFIDENCE = 736, 6, 0.5


def _session(name: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = os.cpu_count() or 1
    path = Path(rapidocr.__file__).parent / "models" / name
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Overview:
    """Detection on an overview, recognition from the original, in batches of six."""

    def __init__(self) -> None:
        self._detection = _session("PP-OCRv6_det_small.onnx")
        self._recognition = _session("PP-OCRv6_rec_small.onnx")
        self._boxes = DBPostProcess(
            thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True, score_mode="fast"
        )
        self._shaper = TextRecognizer.__new__(TextRecognizer)
        self._shaper.rec_image_shape = [3, 48, 320]
        characters = self._recognition.get_modelmeta().custom_metadata_map["character"]
        self._decode = CTCLabelDecode(character=characters.splitlines())

    def __call__(self, pixels: Any) -> list[str]:
        """Read the lines of a page: BGR (height, width, 3)."""
        height, width = pixels.shape[:2]
        scale = min(1.0, LONG_SIDE / max(height, width))
        size = [max(32, round(side * scale / 32) * 32) for side in (width, height)]
        shown = cv2.resize(pixels, size).astype(np.float32) / 127.5 - 1
        [heat] = self._detection.run(
            None, {"x": np.ascontiguousarray(shown.transpose(2, 0, 1)[None])}
        )
        boxes, _ = self._boxes(heat, (height, width))
        ordered = TextDetector.sorted_boxes(boxes) if len(boxes) else []
        lines = [get_rotate_crop_image(pixels, box.astype(np.float32)) for box in ordered]
        ratios = [line.shape[1] / line.shape[0] for line in lines]
        order = sorted(range(len(lines)), key=ratios.__getitem__)
        texts: dict[int, tuple[str, float]] = {}
        for start in range(0, len(order), LINES_AT_ONCE):
            chosen = order[start : start + LINES_AT_ONCE]
            ratio = max(320 / 48, *(ratios[number] for number in chosen))
            batch = [self._shaper.resize_norm_img(lines[number], ratio) for number in chosen]
            [numbers] = self._recognition.run(None, {"x": np.stack(batch)})
            texts.update(zip(chosen, self._decode(numbers)[0], strict=True))
        read = [texts[number] for number in range(len(lines))]
        return [text for text, confidence in read if confidence >= LEAST_CONFIDENCE]


def _rapidocr() -> Callable[[Any], list[str]]:
    reader = RapidOCR(params={"Global.log_level": "error"})
    return lambda pixels: list(reader(pixels).txts or [])


def main() -> None:
    """Answer until the input ends."""
    ways: dict[str, Callable[[Any], list[str]]] = {"overview": Overview(), "rapidocr": _rapidocr()}

    def read(asked: tuple[str, str]) -> list[str]:
        way, file = asked
        pixels = np.asarray(Image.open(file).convert("RGB"))
        return ways[way](np.ascontiguousarray(pixels[..., ::-1]))

    for line in sys.stdin:
        asked = json.loads(line)
        jobs = [(asked["way"], file) for file in asked["files"]]
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(asked["at_once"]) as pool:
            pages = list(pool.map(read, jobs))
        took = {"cpu": time.process_time() - cpu, "seconds": time.perf_counter() - began}
        print(json.dumps({"pages": pages, **took}), flush=True)


if __name__ == "__main__":
    main()
