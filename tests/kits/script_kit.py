"""A recogniser of a second script for tests: a small network that learns Cyrillic in seconds.

It reads the letters, figures and marks of one font, ``cases/cyrillic.ttf`` (those of DejaVu Sans
that it needs; free, see the font's own licence field), as PP-OCR's recognisers do: a column of
answers for every 8 pixels, of which half are blank, decoded by CTC.
"""

import random
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from checkout import CASES

FONT = CASES / "cyrillic.ttf"

_SMALL = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"
_FIGURES = "0123456789,.-"
ALPHABET = _SMALL + _SMALL.upper() + _FIGURES
"""Of the recogniser: a blank goes before it and a space behind."""

_HEIGHT, _WIDTH = 48, 320
_MIDDLES = np.arange(4, _WIDTH, 8)
"""Of the columns of answers, in pixels."""


def _step(channels: int, out: int, spatial: nn.Module) -> tuple[nn.Module, ...]:
    return (spatial, nn.Conv2d(channels, out, 1), nn.BatchNorm2d(out), nn.ReLU())


class _Network(nn.Module):
    """Lines (n, 3, 48, width) to logits of blank, letters and space: (n, width / 8, n + 2)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.columns = nn.Sequential(
            nn.AvgPool2d(2),
            *_step(16, 16, nn.Conv2d(1, 16, 3, 2, 1)),
            *_step(16, 48, nn.Conv2d(16, 16, 3, 1, 1, groups=16)),
            *_step(48, 96, nn.Conv2d(48, 48, 3, 2, 1, groups=48)),
            *_step(192, 160, nn.Conv2d(96, 192, (6, 5), padding=(0, 2), groups=96)),
        )
        self.head = nn.Conv1d(160, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.columns(x.mean(1, keepdim=True)).squeeze(2))
        return logits.transpose(1, 2)


class _Probabilities(nn.Module):
    def __init__(self, network: _Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.network(x), 2)


@cache
def _glyphs(size: int) -> list[np.ndarray]:
    """Each letter, and the space, as ink from 0 to 1: (48, advance)."""
    face = ImageFont.truetype(FONT, size)
    glyphs = []
    for letter in ALPHABET + " ":
        image = Image.new("L", (round(face.getlength(letter)), _HEIGHT))
        ImageDraw.Draw(image).text((0, (_HEIGHT - size) // 2 - 2), letter, 255, font=face)
        glyphs.append(np.asarray(image, np.float32) / 255)
    return glyphs


def _text(rng: random.Random) -> str:
    """Words of chance letters, some with a capital, and numbers."""
    words = []
    for _ in range(rng.randint(1, 5)):
        letters = _FIGURES if rng.random() < 0.15 else _SMALL
        word = "".join(rng.choice(letters) for _ in range(rng.randint(2, 8)))
        words.append(rng.choice((word, word, word.capitalize())))
    return " ".join(words)


def _line(rng: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """A drawn line (48, 320) from -1 to 1, and what its 40 columns say: 0 is blank."""
    glyphs = _glyphs(rng.choice((34, 37, 40)))
    ink = np.zeros((_HEIGHT, _WIDTH), np.float32)
    said = np.zeros(len(_MIDDLES), np.int64)
    left = rng.randint(2, 10)
    for letter in map((ALPHABET + " ").index, _text(rng)):
        right = left + glyphs[letter].shape[1]
        if right > _WIDTH:
            break
        ink[:, left:right] = glyphs[letter]
        # One column or two: between letters that are alike, a blank is left.
        said[np.abs(_MIDDLES - (left + right) / 2) <= 5] = letter + 1
        left = right
    paper, pen = rng.uniform(0.6, 1), rng.uniform(-1, -0.5)
    line = paper + np.roll(ink, rng.randint(-5, 3), 0) * (pen - paper)
    line[:, left + rng.randint(2, 10) :] = 0  # as recognition pads
    return line, said


@cache
def _trained(steps: int) -> _Network:
    torch.manual_seed(1)
    network = _Network(len(ALPHABET) + 2)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for each other
    try:
        _train(network, steps)
    finally:
        torch.set_num_threads(threads)
    return network.eval()


def _train(network: _Network, steps: int) -> None:
    rng = random.Random(1)
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 100, (steps - step) / 600)
        lines, said = zip(*(_line(rng) for _ in range(6)), strict=True)
        x = torch.from_numpy(np.stack(lines))[:, None].expand(-1, 3, -1, -1)
        right = torch.from_numpy(np.concatenate(said))
        loss = nn.functional.cross_entropy(network(x).flatten(0, 1), right)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def cyrillic_recogniser(target: Path, *, metadata: bool = True, steps: int = 1200) -> Path:
    """Write the recogniser's graph, with its alphabet in the metadata or without; its path.

    With no ``steps`` it has learned nothing, and is made at once.
    """
    network = _Probabilities(_trained(steps))
    target.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, and of the newer exporter
        torch.onnx.export(
            network, (torch.zeros(2, 3, _HEIGHT, _WIDTH),), str(target), dynamo=False,
            opset_version=17, input_names=["x"], output_names=["letters"],
            dynamic_axes={"x": {0: "n", 3: "width"}, "letters": {0: "n", 1: "columns"}},
        )  # fmt: skip
    if metadata:
        model = onnx.load(target)
        onnx.helper.set_model_props(model, {"character": "\n".join(ALPHABET)})
        onnx.save(model, target)
    return target
