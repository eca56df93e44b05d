"""EmoryNLP: 12,606 lines of the series Friends with seven emotions of the feeling wheel.

Origin: Zahiri & Choi 2018, "Emotion Detection on TV Show Transcripts with Sequence-Based Convolutional Neural
Networks", AAAI workshops; github.com/emorynlp/emotion-detection. Licence: Apache-2.0.

Layout: `json/emotion-detection-trn.json`, `-dev.json`, `-tst.json`: episodes of scenes of utterances, each with
utterance_id, speakers, transcript and emotion (Neutral, Joyful, Peaceful, Powerful, Scared, Mad, Sad).

Quirks: peaceful and powerful have no place among the seven; disgust and surprise do not occur. The authors
themselves call the agreement low. The same friends speak in every split, and many lines are those of MELD under
other labels: do not test on one what was trained on the other. A line of several speakers has none here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from affetto import labels
from affetto.data.corpora.layout import any_text, find_file, layout_error, manifest_corpus
from affetto.data.manifest import Corpus
from affetto.errors import DataError
from affetto.records import Clip

LICENCE = "Apache-2.0"

_SPLITS = {"trn": "train", "dev": "validation", "tst": "test"}


def read(path: str | Path) -> Corpus:
    """EmoryNLP, official splits. Raises DataError `corpus_layout` for a folder that does not hold it."""
    folder = Path(path)
    return manifest_corpus(folder, "emorynlp", LICENCE, labels.EMORYNLP) or _published(folder)


def _published(folder: Path) -> Corpus:
    clips: list[Clip] = []
    dropped: Counter[str] = Counter()
    problems: list[str] = []
    for name, split in _SPLITS.items():
        file = find_file([folder / "json", folder], [f"emotion-detection-{name}.json"])
        if file is None:
            problems.append(f"there is no {split} split")
            continue
        for scene, line in _lines(file):
            label = str(line["emotion"]).lower()
            emotion = labels.EMORYNLP.get(label)
            if label not in labels.EMORYNLP:
                problems.append(f"left out {line['utterance_id']}: its emotion is {line['emotion']!r}")
            elif emotion is None:
                dropped[label] += 1
            else:
                clips.append(_clip(line, scene, split, emotion))
    if not clips:
        raise layout_error("EmoryNLP", folder, "json/emotion-detection-trn.json ... or manifest.csv")
    return Corpus("emorynlp", LICENCE, tuple(clips), dict(dropped), tuple(problems))


def _lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of the scene and the utterance, of every utterance."""
    try:
        for episode in json.loads(any_text(file, "latin-1"))["episodes"]:
            for scene in episode["scenes"]:
                for line in scene["utterances"]:
                    if {"utterance_id", "speakers", "transcript", "emotion"} <= set(line):
                        yield scene["scene_id"], line
    except (ValueError, KeyError, TypeError) as error:
        raise DataError("corpus_layout", f"{file} does not hold EmoryNLP's episodes: {error}") from None


def _clip(line: Mapping[str, Any], scene: str, split: str, emotion: str) -> Clip:
    speakers = line["speakers"]
    return Clip(
        id=line["utterance_id"],
        text=line["transcript"],
        speaker=speakers[0] if len(speakers) == 1 else None,
        group=scene,
        language="en",
        labels={"emotion": emotion},
        split=split,
        corpus="emorynlp",
    )
