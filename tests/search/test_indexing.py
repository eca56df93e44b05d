"""Clips into an index and out again, with the plain bundle, whose places can be told on paper: see conftest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from affetto import media
from affetto.bundle import Bundle
from affetto.cli import app
from affetto.errors import AffettoError, DataError
from affetto.predictor import Predictor
from affetto.records import Clip
from affetto.search import Filters, Finder, Store, index_clips
from affetto.search.find import query_vector
from affetto.search.indexing import remove_clips
from affetto.search.space import origin_of, space_for
from sounds import voice_like

RATE = 16000
SPACE = {"width": 8, "modalities": ["speech", "text", "vision"], "scale": 5.0, "templates": ["{}"]}


def hum(seconds: float, offset: float) -> np.ndarray:
    """Above zero it is angry, below happy."""
    voice = voice_like(seconds)
    return (voice - voice.mean() + offset).astype(np.float32)


@pytest.fixture
def towers(variant: Callable[..., Bundle]) -> Predictor:
    return Predictor(variant(embedding=SPACE))


@pytest.fixture
def clips(wav: Callable[..., Path], tmp_path: Path) -> list[Clip]:
    """An angry, a happy and a mixed recording, a white picture and a gloomy sentence."""
    Image.new("RGB", (40, 40), "white").save(tmp_path / "white.png")
    return [
        Clip("angry", speech=str(wav(hum(1.0, 0.1), "angry.wav")), speaker="1", labels={"emotion": "anger"}),
        Clip("happy", speech=str(wav(hum(1.0, -0.1), "happy.wav")), attributes={"date": "2020-01-01"}),
        Clip("mixed", speech=str(wav(np.concatenate([hum(2.0, 0.1), hum(2.0, -0.1)]), "mixed.wav"))),
        Clip("white", vision=str(tmp_path / "white.png")),
        Clip("gloomy", text="gloomy"),
    ]


def made(tmp_path: Path, predictor: Predictor) -> Store:
    return Store.create(tmp_path / "my.index", origin_of(predictor, None))


def found(store: Store, predictor: Predictor, filters: Filters = Filters(), **query: str) -> list[str]:
    vector = query_vector(store.origin, predictor, media, **query)  # type: ignore[arg-type]
    return [hit.entry.id for hit in Finder(store).find(vector, 3, filters)]


def add(store: Store, clips: list[Clip], predictor: Predictor):  # type: ignore[no-untyped-def]
    return index_clips(store, clips, predictor, media)  # type: ignore[arg-type]


def test_words_sounds_and_pictures_find_clips(clips: list[Clip], towers: Predictor, tmp_path: Path) -> None:
    store = made(tmp_path, towers)
    report = add(store, clips, towers)
    assert (report.added, report.failed, len(store)) == (5, [], 6)
    assert found(store, towers, text="happy")[0] in ("happy", "mixed")
    assert found(store, towers, text="gloomy")[0] == "gloomy"
    assert found(store, towers, speech=clips[0].speech, filters=Filters(label="angry")) == ["angry"]
    assert found(store, towers, image=clips[3].vision)[0] == "white"
    assert found(store, towers, text="happy", filters=Filters(before="2021-01-01")) == ["happy"]
    assert found(store, towers, text="happy", filters=Filters(modality="vision")) == ["white"]


def test_a_long_recording_is_found_where_it_is_meant(
    clips: list[Clip], towers: Predictor, tmp_path: Path
) -> None:
    store = made(tmp_path, towers)
    add(store, [clips[2]], towers)
    best = Finder(store).find(towers.embed(text="happy"), 1)[0]
    assert (best.entry.start, best.entry.end) == (2.0, 4.0)
    assert best.to_dict()["modality"] == "speech"
    assert store.vectors([0])[0] == pytest.approx(towers.embed(speech=hum(2.0, 0.1)), abs=1e-3)
    later = made(tmp_path / "later", towers)
    add(later, [replace(clips[2], start=1.0, end=2.5)], towers)
    assert [(entry.start, entry.end) for entry in later.entries()] == [(1.0, 2.5)]


def test_a_silent_window_is_left_out(wav: Callable[..., Path], towers: Predictor, tmp_path: Path) -> None:
    store = made(tmp_path, towers)
    path = wav(np.concatenate([np.zeros(2 * RATE, np.float32), hum(1.0, 0.1)]), "late.wav")
    report = add(store, [Clip("late", speech=str(path))], towers)
    assert report.failed == []
    assert [(entry.start, entry.end) for entry in store.entries()] == [(2.0, 3.0)]


def test_a_second_run_adds_what_is_new_and_replaces_what_changed(
    clips: list[Clip], towers: Predictor, tmp_path: Path, wav: Callable[..., Path]
) -> None:
    store = made(tmp_path, towers)
    add(store, clips[:3], towers)
    report = add(store, clips, towers)
    assert (report.added, report.known, report.dropped) == (2, 3, 0)
    wav(hum(1.5, 0.1), "happy.wav")
    report = add(store, clips, towers)
    assert (report.added, report.known, report.dropped) == (1, 4, 1)
    assert sorted({entry.id for entry in store.entries()}) == ["angry", "gloomy", "happy", "mixed", "white"]
    assert next(entry.end for entry in store.entries() if entry.id == "happy") == 1.5
    # Facts count too, and a file that broke is not found as what it was.
    report = add(store, [replace(clips[0], speaker="2")], towers)
    assert (report.added, report.dropped) == (1, 1)
    Path(str(clips[0].speech)).write_bytes(b"no sound")
    report = add(store, [clips[0]], towers)
    assert (len(report.failed), report.dropped) == (1, 1)
    assert "angry" not in {entry.id for entry in Store(store.folder).entries()}


def test_a_bad_clip_stops_nothing(clips: list[Clip], towers: Predictor, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF, but no more")
    wrong = [
        Clip("bad", speech=str(bad)),
        Clip("gone", speech=str(tmp_path / "gone.wav")),
        Clip("scripted", text="happy", scripted=True),
        replace(clips[0], id="undated", attributes={"date": "yesterday"}),
    ]
    report = add(made(tmp_path, towers), [*wrong, *clips], towers)
    assert report.added == 5
    told = [(clip.id, error.code) for clip, error in report.failed]
    assert told[1:] == [
        ("gone", "media_not_found"),
        ("scripted", "nothing_to_predict"),
        ("undated", "manifest_row_invalid"),
    ]
    assert told[0][0] == "bad"


def test_two_different_clips_of_one_id_are_refused(
    clips: list[Clip], towers: Predictor, tmp_path: Path
) -> None:
    store = made(tmp_path, towers)
    with pytest.raises(DataError) as caught:
        add(store, [clips[0], replace(clips[1], id="angry")], towers)
    assert caught.value.code == "clip_duplicate"
    assert add(store, [clips[0], clips[0]], towers).added == 1
    assert add(store, [replace(clips[1], id="angry", corpus="other")], towers).added == 1
    assert len(store) == 2


def test_clips_are_removed_by_id_file_and_folder(
    clips: list[Clip], towers: Predictor, tmp_path: Path
) -> None:
    store = made(tmp_path, towers)
    add(store, clips, towers)
    assert remove_clips(store, ["gloomy", str(clips[2].speech)]) == 3
    with pytest.raises(DataError) as caught:
        remove_clips(store, ["nobody"])
    assert caught.value.code == "nothing_to_predict"
    assert remove_clips(store, [str(tmp_path)]) == 3
    assert len(store) == 0


def test_vectors_of_another_bundle_are_refused(
    clips: list[Clip], towers: Predictor, variant: Callable[..., Bundle], tmp_path: Path
) -> None:
    store = made(tmp_path, towers)
    other = Predictor(variant(embedding=SPACE, name="other"))
    for act in (lambda: add(store, clips, other), lambda: found(store, other, text="happy")):
        with pytest.raises(DataError) as caught:
            act()
        assert caught.value.code == "index_of_another_bundle"
    assert len(store) == 0


# --- a bundle without towers ---


def test_without_towers_clips_are_found_by_their_emotions(
    clips: list[Clip], plain_bundle: Bundle, tmp_path: Path
) -> None:
    plain = Predictor(plain_bundle)
    store = made(tmp_path, plain)
    add(store, clips, plain)
    assert (store.origin.kind, store.origin.width) == ("emotions", 7)
    assert found(store, plain, text="angry")[0] in ("angry", "mixed")
    assert found(store, plain, text="gloomy")[0] == "gloomy"
    assert found(store, plain, text="gloomy gloomy")[0] == "gloomy"
    assert found(store, plain, speech=clips[1].speech)[0] in ("happy", "mixed")
    # The score is the overlap of two profiles; an emotion's name is all that emotion.
    space = space_for(plain)
    expected = list(plain.predict(vision=clips[3].vision).probabilities.values())
    assert space.place(vision=str(clips[3].vision)) ** 2 == pytest.approx(expected, abs=1e-6)
    hit = Finder(store).find(space.words("surprised"), 1)[0]
    assert hit.score == pytest.approx(expected[plain.labels.index("surprise")] ** 0.5, abs=1e-5)


def test_without_towers_and_emotions_there_is_no_index(
    variant: Callable[..., Bundle], tmp_path: Path
) -> None:
    tasks = [{"name": "valence", "kind": "dimension", "views": ["speech"]}]
    with pytest.raises(AffettoError) as caught:
        origin_of(Predictor(variant(tasks=tasks, calibration={})), None)
    assert caught.value.code == "no_shared_space"


# --- killed ---

KILLED = """
import os, signal, sys
from affetto import media
from affetto.cli.predict import gather
from affetto.predictor import load
from affetto.search import Store, index_clips, indexing
from affetto.search.space import origin_of

def killed(clips):
    for number, clip in enumerate(clips):
        if number == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        yield clip

indexing._APPEND_ROWS = 2
bundle, folder, index = sys.argv[1:]
clips = [item.clip for item in gather([folder], {}, None).all]
predictor = load(bundle)
index_clips(Store.create(index, origin_of(predictor, None)), clips, predictor, media, progress=killed)
"""


def test_a_killed_run_goes_on(towers: Predictor, wav: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(8):
        wav(hum(0.5, 0.01 * (number + 1)), f"many/{number}.wav")
    folder, index = tmp_path / "many", tmp_path / "my.index"
    command = [sys.executable, "-c", KILLED, str(towers.bundle.path), str(folder), str(index)]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert len(Store(index)) == 4
    clips = [Clip(str(path), speech=str(path)) for path in sorted(folder.iterdir())]
    store = Store(index)
    report = add(store, clips, towers)
    assert (report.added, report.known) == (4, 4)
    assert sorted(entry.id for entry in store.entries()) == [clip.id for clip in clips]


# --- on the command line ---


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        app.main([*arguments])
    return int(end.value.code or 0)


def test_index_and_search_as_commands(
    clips: list[Clip],
    towers: Predictor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index, bundle = str(tmp_path / "my.index"), str(towers.bundle.path)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    assert run("index", str(tmp_path / "*.*"), "-o", index, "--bundle", bundle) == 3
    told = capsys.readouterr().err
    assert "bad.wav" in told
    assert "4 added, 0 known, 1 failed" in told
    (tmp_path / "bad.wav").unlink()
    monkeypatch.chdir(tmp_path)
    assert run("index", "*.wav", "-o", index) == 0
    assert "0 added, 3 known" in capsys.readouterr().err
    # The bundle is remembered.
    assert run("search", index, "happy", "--top", "2", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {os.path.basename(line["file"]) for line in lines} == {"happy.wav", "mixed.wav"}
    assert run("search", index, "--image", "white.png", "--modality", "vision") == 0
    assert "white.png" in capsys.readouterr().out.replace("\n", "")
    assert run("index", "-o", index, "--remove", "happy.wav") == 0
    assert run("search", index, "happy", "--top", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["start"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["index", "-o", "my.index"], "option_invalid"),
        (["search", "nowhere.index", "happy"], "index_not_found"),
        (["search", "my.index"], "option_invalid"),
        (["search", "my.index", "happy", "--image", "x.png"], "option_invalid"),
        (["search", "my.index", "happy", "--after", "yesterday"], "option_invalid"),
    ],
)
def test_wrong_commands_are_told(
    arguments: list[str],
    code: str,
    towers: Predictor,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Store.create(tmp_path / "my.index", origin_of(towers, str(towers.bundle.path)))
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert f"[{code}]" in capsys.readouterr().err
