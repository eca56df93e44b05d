"""`affetto enrol`: unlabelled recordings of one person in, a small file that `predict --speaker` takes out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def enrol(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Recordings of one person, folders, 'glob*' patterns.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, like anna.json.")],
    all_moods: Annotated[
        bool,
        typer.Option(
            "--all-moods",
            help="They show all moods about equally often: correct the voice however alike they sound. Wrong of "
            "recordings in one mood.",
        ),
    ] = False,
    bundle: Annotated[str | None, typer.Option(help="The model: a folder or zip.")] = None,
) -> None:
    """Learn how a person sounds, from recordings in all moods that nobody labelled.

    The file holds a few numbers and the hash of the model, no sound. A recording that cannot be read is named
    and left out. Exit code: 0 all heard, 3 some failed, 2 none heard.
    """
    from affetto.cli.predict import SOME_FAILED, gather, tracked
    from affetto.cli.show import failure
    from affetto.enrolment import VARIETY, learn_speaker, write_speaker
    from affetto.media.worker import DecodingWorker
    from affetto.predictor import load
    from affetto.records import Prediction

    nothing_else = dict.fromkeys(("--text", "--image", "--words", "--transcribe"))
    items = gather(files, nothing_else, None).all
    clips = [replace(item.clip, text=None, vision=None, words=()) for item in items if item.clip.speech]
    with DecodingWorker() as decoder:
        outcomes = list(load(bundle, decoder=decoder).predict_many(tracked(clips)))
    failed = [(clip, outcome) for clip, outcome in outcomes if not isinstance(outcome, Prediction)]
    for clip, error in failed:
        print(failure(str(clip.speech), error), file=sys.stderr)
    heard = [outcome for _, outcome in outcomes if isinstance(outcome, Prediction)]
    speaker = learn_speaker(heard, all_moods=all_moods)
    write_speaker(output, speaker)
    print(f"heard {speaker.clips} recordings, variety {speaker.variety:.2f} of 1")
    if speaker.variety <= VARIETY[0] and not all_moods:
        print("they sound alike, so nothing is corrected: enrol more moods, or say --all-moods if these are")
    print(f"next: affetto predict FILE --speaker {output}")
    raise typer.Exit(SOME_FAILED if failed else 0)
