"""Draws docs/timeline.svg, the README's picture of a timeline, and makes the recording that it shows.

`call.flac` is three of the clips one after the other, `call.srt` what is said in it, a sentence at a time: when
each one begins and ends is found by forced alignment. Needs `pip install "affetto[transcribe]"`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console

import affetto
from affetto.align.clock import RATE, to_seconds
from affetto.align.formats.times import format_clock
from affetto.align.sphinx import ForcedAligner
from affetto.align.words import read_words
from affetto.cli.strip import show_strip
from affetto.data.manifest import read_manifest
from affetto.media import decode_audio
from affetto.records import Word

FOLDER = Path(__file__).parent
RECORDING, SUBTITLES = FOLDER / "call.flac", FOLDER / "call.srt"
ORDER = ("thanks", "goodbye", "meeting")
PAUSE = np.zeros(RATE * 7 // 10, np.float32)


def joined() -> tuple[np.ndarray, str]:
    """The clips with pauses between them, float32 [N], and subtitles (SubRip) of their sentences."""
    clips = {clip.id: clip for clip in read_manifest(FOLDER / "manifest.csv")}
    aligner = ForcedAligner()
    pieces: list[np.ndarray] = []
    cues: list[str] = []
    for name in ORDER:
        samples = decode_audio(str(clips[name].speech))
        start = to_seconds(sum(map(len, pieces)))
        for words in sentences(aligner.align(samples, str(clips[name].text))):
            begins, ends = (format_clock(start + time, ",") for time in (words[0].start, words[-1].end))
            text = " ".join(word.text for word in words)
            cues.append(f"{len(cues) + 1}\n{begins} --> {ends}\n{text}\n")
        pieces += [samples, PAUSE]
    return np.concatenate(pieces[:-1]), "\n".join(cues)


def sentences(words: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """The words up to each full stop."""
    first = 0
    for place, word in enumerate(words, 1):
        if word.text.endswith((".", "!")):
            yield words[first:place]
            first = place


def main() -> None:
    """Write the recording and its subtitles, answer for them, print the timeline into a recording console."""
    samples, subtitles = joined()
    soundfile.write(RECORDING, samples, RATE, subtype="PCM_16")
    SUBTITLES.write_text(subtitles, encoding="utf-8")
    answer = affetto.load().predict(speech=RECORDING, words=read_words(SUBTITLES).words, timeline=True)

    console = Console(record=True, width=98, force_terminal=True, color_system="truecolor", file=StringIO())
    console.print("$ affetto predict call.flac --words call.srt", style="bold", highlight=False)
    console.print("…\n", style="dim")
    show_strip(answer, console)
    console.print()
    picture = re.sub(r"@font-face\s*\{.*?\}", "", console.export_svg(title="affetto"), flags=re.DOTALL)
    (FOLDER.parent / "docs" / "timeline.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
