"""`affetto prepare`: a corpus in, a manifest and a short table out, and one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from affetto.cli.app import main
from affetto.data.corpora import CORPORA
from affetto.data.manifest import read_manifest


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["prepare", *arguments])
    return int(end.value.code or 0)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """EmoDB in small: three emotions of two people, boredom, and a name that is none."""
    for name in ("03a01Wa", "03a01Na", "08a02Fb", "08a02La", "readme"):
        (tmp_path / "emodb" / "wav" / f"{name}.wav").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "emodb" / "wav" / f"{name}.wav").touch()
    return tmp_path / "emodb"


def test_a_corpus_becomes_a_manifest(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = corpus.parent / "manifests" / "emodb.csv"
    manifest.parent.mkdir()
    assert run("emodb", str(corpus), "-o", str(manifest)) == 0
    clips = read_manifest(manifest)
    assert [(clip.id, clip.labels["emotion"]) for clip in clips] == [
        ("03a01Na", "neutral"),
        ("03a01Wa", "anger"),
        ("08a02Fb", "happiness"),
    ]
    assert Path(clips[0].speech or "").samefile(corpus / "wav" / "03a01Na.wav")
    assert "../emodb/wav/03a01Na.wav" in manifest.read_text()
    printed = capsys.readouterr().out
    for line in (
        "licence: CC0-1.0",
        "anger 1, happiness 1, neutral 1",
        "none 3",
        "boredom 1",
        "- left out 1 files without an EmoDB name: readme.wav",
        f"written: {manifest}",
    ):
        assert line in printed
    assert "agreement" not in printed


def test_options_reach_the_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "sheet.csv"
    table.write_text(
        "Utterance,votes_happy,votes_sad\nHi,3,1\nOh,2,2\nAh,0,4\n"
        + "".join(f"x,-{n},1\n" for n in range(1, 26))
    )
    output = tmp_path / "out.jsonl"
    assert run("table", str(table), "-o", str(output), "--option", "text=Utterance") == 0
    assert [clip.text for clip in read_manifest(output)] == ["Hi", "Oh", "Ah"]
    printed = capsys.readouterr().out
    assert "happiness 1, sadness 1, tie 1" in printed
    # Pairs that agree: 3 of 6, 2 of 6 and 6 of 6; 5 and 7 of 12 votes.
    chance = (5 / 12) ** 2 + (7 / 12) ** 2
    kappa = ((3 / 6 + 2 / 6 + 1) / 3 - chance) / (1 - chance)
    assert (
        f"the winner has 0.75 of the votes; 1 ties, 1 with at most half, Fleiss' kappa {kappa:.2f}" in printed
    )
    assert printed.count("\n- left out line") == 20
    assert "- and 5 more" in printed


def test_the_list_names_every_corpus_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list") == 0
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in CORPORA)
    assert "labels=four" in printed
    assert "CC BY-NC-SA 4.0" in printed


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), "option_invalid", "expected CORPUS PATH -o MANIFEST"),
        (("emodb", "{folder}"), "option_invalid", "expected CORPUS PATH -o MANIFEST"),
        (("emodbb", "{folder}", "-o", "{out}"), "corpus_unknown", "did you mean 'emodb'"),
        (("emodb", "{folder}", "-o", "{out}", "--option", "labels"), "option_invalid", "expected NAME=VALUE"),
        (("emodb", "{folder}", "-o", "{out}", "--option", "a=1"), "option_invalid", "has no option 'a'"),
        (("emodb", "{folder}", "-o", "{folder}/x.xls"), "manifest_invalid", "expected a name ending in"),
        (("ravdess", "{folder}", "-o", "{out}"), "corpus_layout", "does not look like RAVDESS"),
        (("emodb", "{folder}", "-o", "{folder}/none/x.csv"), "output_unwritable", "cannot write"),
    ],
)
def test_what_is_wrong_is_one_line(
    corpus: Path, arguments: tuple[str, ...], code: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = corpus.parent / "out.csv"
    filled = [word.format(folder=corpus, out=output) for word in arguments]
    assert run(*filled) == 2
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.endswith(f"[{code}]\n")
    assert printed.count("\n") == 1
    assert not output.exists()


def test_a_corpus_without_a_usable_clip_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "03a01La.wav").touch()
    assert run("emodb", str(tmp_path), "-o", str(tmp_path / "out.csv")) == 2
    assert "no clip in" in (said := capsys.readouterr().err)
    assert "dropped: boredom" in said
    assert not (tmp_path / "out.csv").exists()
