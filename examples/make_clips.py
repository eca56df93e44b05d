"""Makes the clips in this folder: synthesised speech with its transcript, and drawn faces.

No recording of anybody is used. Needs `pip install espeakng-loader` (eSpeak NG, which runs here and is not
shipped): python examples/make_clips.py
"""

from __future__ import annotations

import csv
import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from PIL import Image, ImageDraw

FOLDER = Path(__file__).parent
RATE = 16000

_SYNCHRONOUS, _UTF8 = 2, 1
_SPEED, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Line:
    """A sentence, what is felt, and how it is said: words per minute, pitch and its range (0 to 100)."""

    name: str
    emotion: str
    text: str
    speed: int
    pitch: int
    range: int


LINES = (
    Line(
        "refund",
        "anger",
        "I have been waiting for three weeks and nobody called me back. This is outrageous!",
        195,
        60,
        90,
    ),
    Line("thanks", "happiness", "Thank you so much, that is wonderful news, you made my day!", 175, 65, 85),
    Line("meeting", "neutral", "The meeting starts at ten and the report is on the table.", 160, 45, 40),
    Line("goodbye", "sadness", "I miss him so much. The house is so empty now.", 115, 30, 20),
)

#: Mouth and brows of a drawn face: how far the corners of the mouth rise, how far the brows tilt inwards.
FACES = {"smiling": (0.6, 0.0), "frowning": (-0.5, 0.5)}


class Voice:
    """eSpeak NG, English."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0
        )
        if self._rate <= 0:
            raise RuntimeError("eSpeak NG does not start: reinstall espeakng-loader")
        self._library.espeak_SetVoiceByName(b"en-us")
        self._pieces: list[np.ndarray] = []
        self._callback = _CALLBACK(self._collect)  # kept: the library holds only a pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, line: Line) -> np.ndarray:
        """The line, float32 [N] at 16 kHz, with a third of a second of silence around it."""
        self._pieces.clear()
        for parameter, value in ((_SPEED, line.speed), (_PITCH, line.pitch), (_RANGE, line.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        text = line.text.encode() + b"\0"
        self._library.espeak_Synth(text, len(text), 0, 1, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._pieces).astype(np.float32) / 32768
        return np.pad(soxr.resample(samples, self._rate, RATE), RATE // 3)

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


def draw_face(smile: float, frown: float, size: int = 192) -> Image.Image:
    """A face from the front on a plain ground: an oval, eyes, brows, nose, mouth."""
    scale = 4  # drawn large and made small: smooth lines
    side = size * scale
    image = Image.new("RGB", (side, side), (120, 128, 140))
    draw = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return side * (0.5 + 0.5 * x), side * (0.5 + 0.5 * y)

    draw.ellipse([at(-0.72, -0.95), at(0.72, 0.95)], fill=(222, 184, 158))
    draw.pieslice([at(-0.78, -1.05), at(0.78, 0.55)], 190, 350, fill=(70, 50, 40))
    draw.ellipse([at(-0.66, -0.62), at(0.66, 0.9)], fill=(222, 184, 158))
    for side_of_face in (-1, 1):
        x = 0.3 * side_of_face
        draw.ellipse([at(x - 0.13, -0.22), at(x + 0.13, -0.06)], fill=(250, 250, 250))
        draw.ellipse([at(x - 0.06, -0.21), at(x + 0.06, -0.07)], fill=(50, 40, 35))
        inner, outer = at(x - 0.17 * side_of_face, -0.33 + 0.14 * frown), at(x + 0.17 * side_of_face, -0.36)
        draw.line([inner, outer], fill=(70, 50, 40), width=side // 40)
    draw.line([at(0.02, -0.05), at(-0.07, 0.25), at(0.07, 0.26)], fill=(180, 140, 118), width=side // 70)
    across = np.linspace(-1, 1, 41)
    mouth = [at(0.32 * x, 0.5 + 0.22 * smile * (0.5 - x * x)) for x in across]
    draw.line(mouth, fill=(150, 60, 60), width=side // 28, joint="curve")
    return image.resize((size, size), Image.Resampling.LANCZOS)


def main() -> None:
    """Write the clips, the faces and their manifest."""
    voice = Voice()
    with (FOLDER / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["id", "path", "text", "language", "emotion"])
        for line in LINES:
            sf.write(FOLDER / f"{line.name}.flac", voice.say(line), RATE, subtype="PCM_16")
            rows.writerow([line.name, f"{line.name}.flac", line.text, "en", line.emotion])
    for name, (smile, frown) in FACES.items():
        draw_face(smile, frown).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
