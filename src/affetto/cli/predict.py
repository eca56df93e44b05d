"""`affetto predict`: recordings, pictures, sentences, folders and manifests in; answers out."""

from __future__ import annotations

import glob
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from affetto.cli.item import Item, is_picture
from affetto.cli.rows import RowWriter, opened, row_writer
from affetto.cli.timed import check_timelines, with_words, write_timeline
from affetto.errors import AffettoError, ConfigError, DataError
from affetto.records import Clip, Prediction

if TYPE_CHECKING:
    from affetto.enrolment import Speaker
    from affetto.media.worker import DecodingWorker
    from affetto.predictor import Predictor, ZeroShot
    from affetto.predictor.inputs import Decoder

AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".m4a")
FILMS = (".mp4", ".m4v", ".mov", ".webm", ".mkv")
IMAGES = (".jpg", ".jpeg", ".png", ".webp")
MANIFESTS = (".csv", ".jsonl", ".parquet")
ZERO_SHOT = "zero_shot"
SOME_FAILED, NONE_ANSWERED = 3, 2


def predict(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE",
            help="Recordings, pictures, folders, 'glob*' patterns or manifests; - reads one from stdin.",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="What was said.")] = None,
    image: Annotated[str | None, typer.Option(help="A picture of the face.")] = None,
    labels: Annotated[str | None, typer.Option(help="Only these emotions are possible: happy,sad.")] = None,
    zero_shot: Annotated[
        str | None, typer.Option(help="Which of these words fits best: delighted,bored,worried.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Language of the words, like en or de.")] = None,
    words: Annotated[
        str | None, typer.Option(help="What was said and when: SRT, VTT, TextGrid, CTM, Whisper JSON, CSV.")
    ] = None,
    transcribe: Annotated[
        str | None,
        typer.Option(help="Recognise the words: pocketsphinx, faster-whisper:MODEL, whisper:MODEL."),
    ] = None,
    timeline: Annotated[
        list[Path] | None,
        typer.Option(help="Write the timeline to a .html, .csv, .srt, .vtt or .json file; also several."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON; one line per item.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write answers to a .csv or .jsonl file.")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="The model: a folder or zip.")] = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32; int8 where the bundle has it.")] = None,
    speaker: Annotated[
        Path | None, typer.Option(help="Whose speech it is: a file of `affetto enrol`.")
    ] = None,
) -> None:
    """Tell the emotion of recordings, sentences and faces.

    Any subset of speech, text and face is answered: affetto predict call.wav --text "I see" --image face.jpg.
    One recording is also answered every half second: affetto predict call.wav --words call.srt --timeline call.html.
    Several files are answered one by one, and files that fail do not stop the others.
    Exit code: 0 all answered, 3 some failed, 2 none answered.
    """
    for_one = {"--text": text, "--image": image, "--words": words, "--transcribe": transcribe}
    items = gather(files or [], {**for_one, "--timeline": timeline}, language)
    check_timelines(timeline or [])
    with ExitStack() as stack:
        sink = stack.enter_context(opened(output)) if output else None
        decoder = _decoder(stack, items)
        predictor = _loaded(bundle, precision, decoder, items)
        asked = Asked(
            split_labels(labels), _zero_shot(predictor, zero_shot), known_speaker(speaker, predictor)
        )
        write = row_writer(sink, output.suffix, predictor.labels, asked.columns) if sink and output else None
        if items.several:
            raise typer.Exit(_many(predictor, items.all, asked, as_json, write))
        item = with_words(items.all[0], words, transcribe, decoder)
        _one(predictor, item, asked, as_json, write, timeline or [], decoder)


def _decoder(stack: ExitStack, items: Items) -> DecodingWorker | None:
    """What opens the media of the items, until the stack is left; None where there are only texts.

    Started before the model is loaded: it gets ready on another core meanwhile.
    """
    if not any(set(item.modalities()) - {"text"} for item in items.all):
        return None
    from affetto.media.worker import DecodingWorker

    return stack.enter_context(DecodingWorker())


def _loaded(
    bundle: str | None, precision: str | None, decoder: DecodingWorker | None, items: Items
) -> Predictor:
    """The model, with the parts that the items need."""
    from affetto.predictor import load

    predictor = load(bundle, precision=precision, decoder=decoder)
    predictor.prepare(m for item in items.all for m in item.modalities())
    return predictor


@dataclass(frozen=True)
class Asked:
    """What is asked of every item: which emotions are possible, which words fit besides, whose speech it is."""

    labels: list[str] | None
    zero_shot: ZeroShot | None
    speaker: Speaker | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The further columns of a row."""
        return (ZERO_SHOT,) if self.zero_shot else ()


@dataclass(frozen=True)
class Items:
    """What a command line asks for; `several` when it may hold more than one, and answers come as rows."""

    all: tuple[Item, ...]
    several: bool


def gather(arguments: Sequence[str], for_one: Mapping[str, Any], language: str | None) -> Items:
    """The items that FILE arguments and the options of one item (by name) ask for. Nothing is decoded.

    Raises DataError `nothing_to_predict`, ConfigError `option_invalid` (such an option beside several files).
    """
    several = len(arguments) > 1 or any(_is_plural(argument) for argument in arguments)
    if several:
        given = [name for name, value in for_one.items() if value is not None]
        if given:
            raise ConfigError(
                "option_invalid", f"{' and '.join(given)} is for one recording or picture: give one FILE"
            )
        if "-" in arguments:
            raise ConfigError("option_invalid", "- (stdin) must be the only FILE")
    found = [item for argument in arguments for item in _expand(argument)]
    if several:
        return Items(tuple(_in_language(item, language) for item in found), True)
    told = [name for name in ("--text", "--words", "--transcribe") if for_one[name] is not None]
    if len(told) > 1:
        raise ConfigError("option_invalid", f"{' and '.join(told)} both say what was said: give one")
    text, image = for_one["--text"], for_one["--image"]
    if not found and text is None and image is None and for_one["--words"] is None:
        raise DataError("nothing_to_predict", "give a FILE, --text or --image; see `affetto predict --help`")
    item = found[0] if found else Item(Clip(id="text"))
    clip = item.clip
    if image is not None:
        if clip.vision is not None and clip.speech is None:
            raise ConfigError(
                "option_invalid", f"{clip.vision} is a picture, so --image has no place: give one"
            )
        clip = replace(clip, vision=image)
    return Items((Item(replace(clip, text=text, language=language), item.data),), False)


def _in_language(item: Item, language: str | None) -> Item:
    return replace(item, clip=replace(item.clip, language=item.clip.language or language))


def _is_plural(argument: str) -> bool:
    path = Path(argument)
    return path.is_dir() or path.suffix.lower() in MANIFESTS or _is_pattern(argument)


def _is_pattern(argument: str) -> bool:
    return glob.has_magic(argument) and not os.path.exists(argument)


def _expand(argument: str) -> list[Item]:
    """The items behind one FILE argument."""
    if argument == "-":
        return [Item(Clip(id="stdin"), sys.stdin.buffer.read())]
    path = Path(argument)
    if path.is_dir():
        found = [str(p) for p in sorted(path.rglob("*")) if _is_media(p)]
        if not found:
            raise DataError("nothing_to_predict", f"folder {argument} holds no recording or picture")
        return [Item(_clip(name)) for name in found]
    if _is_pattern(argument):
        found = sorted(name for name in glob.glob(argument, recursive=True) if os.path.isfile(name))
        if not found:
            raise DataError("nothing_to_predict", f"no file matches {argument}")
        return [Item(_clip(name)) for name in found]
    if path.suffix.lower() in MANIFESTS:
        from affetto.data.manifest import read_manifest

        return [Item(clip) for clip in read_manifest(path)]
    return [Item(_clip(argument))]


def _is_media(path: Path) -> bool:
    return path.suffix.lower() in AUDIO + FILMS + IMAGES and not path.name.startswith(".") and path.is_file()


def _clip(name: str) -> Clip:
    """The clip of one file: a picture by its first bytes (or, unreadable, by its name), else a recording; of a
    film the face too."""
    try:
        with open(name, "rb") as stream:
            picture = is_picture(stream.read(16))
    except OSError:
        picture = name.lower().endswith(IMAGES)  # also `archive.zip#face.png`
    if picture:
        return Clip(id=name, vision=name)
    return Clip(id=name, speech=name, vision=name if name.lower().endswith(FILMS) else None)


def split_labels(asked: str | None) -> list[str] | None:
    """The names in a --labels option, as typed."""
    if asked is None:
        return None
    return [name.strip() for name in asked.split(",") if name.strip()]


def known_speaker(path: Path | None, predictor: Predictor) -> Speaker | None:
    """The speaker of a --speaker option. Raises DataError `speaker_invalid`, `speaker_other_model`."""
    if path is None:
        return None
    from affetto.enrolment import read_speaker

    speaker = read_speaker(path)
    # Once, before any item is answered: among several it would look like a fault of each.
    speaker.check_model({"name": predictor.bundle.info.name, "sha256": predictor.bundle.sha256})
    return speaker


# --- answering ---


def _one(
    predictor: Predictor,
    item: Item,
    asked: Asked,
    as_json: bool,
    write: RowWriter | None,
    timelines: Sequence[Path],
    decoder: Decoder | None,
) -> None:
    prediction = _named(asked.zero_shot, item, _answered(predictor, item, asked))
    for path in timelines:
        write_timeline(prediction, item, path, decoder)
    if write is not None:
        write(item.name, prediction, **_more(prediction))
    if as_json:
        print(json.dumps(prediction.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    from rich.console import Console

    from affetto.cli.show import show
    from affetto.cli.strip import show_strip

    console = Console()
    show(prediction, console)
    if len(prediction.segments) > 1:
        console.print()
        show_strip(prediction, console)


def _answered(predictor: Predictor, item: Item, asked: Asked) -> Prediction:
    """The answer to one item, with its timeline."""
    if item.data is None:
        return predictor.predict_clip(item.clip, timeline=True, labels=asked.labels, speaker=asked.speaker)
    from affetto.predictor.inputs import is_video

    picture, clip = is_picture(item.data[:16]), item.clip
    seen = picture or (clip.vision is None and is_video(item.data))
    return predictor.predict(
        speech=None if picture else item.data,
        text=clip.text,
        vision=item.data if seen else clip.vision,
        words=clip.words,
        timeline=True,
        labels=asked.labels,
        language=clip.language,
        file="stdin",
        speaker=asked.speaker,
    )


def _many(
    predictor: Predictor,
    items: Sequence[Item],
    asked: Asked,
    as_json: bool,
    write: RowWriter | None,
) -> int:
    """Answer items one by one: rows to `write`, else to stdout (a table for people). The exit code."""
    from rich.console import Console

    from affetto.cli.show import failure, summary, table

    console = Console()
    for_people = write is None and not as_json and console.is_terminal
    if write is None and not for_people:
        write = row_writer(sys.stdout, ".jsonl" if as_json else ".csv", predictor.labels, asked.columns)
    answered: list[tuple[str, Prediction]] = []
    failed: list[tuple[str, AffettoError]] = []
    clips = tracked([item.clip for item in items])
    outcomes = predictor.predict_many(clips, labels=asked.labels, speaker=asked.speaker)
    for item, (_, outcome) in zip(items, outcomes, strict=True):
        if isinstance(outcome, Prediction):
            outcome = _named(asked.zero_shot, item, outcome)
            answered.append((item.name, outcome))
        else:
            failed.append((item.name, outcome))
        if write is not None:
            write(item.name, outcome, **_more(outcome))
    if for_people:
        for line in table(answered, console.width):
            console.print(line, highlight=False)
    notes = [summary((prediction for _, prediction in answered), len(failed))]
    notes += [failure(name, error) for name, error in failed]
    print(*notes, sep="\n", file=sys.stderr)
    return 0 if not failed else SOME_FAILED if answered else NONE_ANSWERED


# --- names that were never trained ---


def _zero_shot(predictor: Predictor, asked: str | None) -> ZeroShot | None:
    """What answers for the names of a --zero-shot option."""
    from affetto.predictor import ZeroShot

    return None if asked is None else ZeroShot(predictor, split_labels(asked) or [])


def _named(asked: ZeroShot | None, item: Item, prediction: Prediction) -> Prediction:
    """The answer with what --zero-shot asks among its tasks."""
    if asked is None:
        return prediction
    clip, data = item.clip, item.data
    picture = data is not None and is_picture(data[:16])
    said = asked.answer(
        prediction,
        speech=clip.speech if data is None or picture else data,
        text=clip.text if "text" in clip.modalities() else None,
        vision=data if picture else clip.vision,
        start=clip.start,
        end=clip.end,
    )
    return replace(prediction, tasks={**prediction.tasks, ZERO_SHOT: said})


def _more(outcome: Prediction | AffettoError) -> dict[str, str]:
    """The further column of a row in which --zero-shot is answered."""
    said = outcome.tasks.get(ZERO_SHOT) if isinstance(outcome, Prediction) else None
    return {} if said is None else {ZERO_SHOT: said["label"]}


def tracked(clips: Sequence[Clip]) -> Iterable[Clip]:
    """The clips, with a progress bar on stderr when someone is watching it."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    if not console.is_terminal:
        return clips
    return track(clips, description="answering", console=console, transient=True)
