"""CREMA-D: votes on the voice, on voice and face, the acted emotion, and the recording without sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from affetto.data.agreement import vote_agreement
from affetto.data.corpora import read_corpus
from affetto.data.manifest import Corpus
from affetto.errors import ConfigError, DataError
from affetto.labels import EMOTIONS

# The columns and the first two rows of each kind as published (further columns left out).
VOTES = (
    '"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"\n'
    '"100001",0,0,0,1,10,0,"1001_IEO_NEU_XX",11,0.909090909090909,"N"\n'
    '"100009",5,5,0,0,1,1,"1001_IEO_ANG_MD",12,0.416666666666667,"A:D"\n'
    '"200009",9,0,0,0,0,0,"1001_IEO_ANG_MD",9,1,"A"\n'
    '"300001",0,0,0,0,8,0,"1001_IEO_NEU_XX",8,1,"N"\n'
    '"300009",4,2,0,0,2,0,"1001_IEO_ANG_MD",8,0.5,"A"\n'
)
PEOPLE = (
    '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,Male,Caucasian,Not Hispanic\n1076,21,Female,Asian,x\n'
)
FILES = {
    "AudioWAV/1001_IEO_NEU_XX.wav": b"",
    "AudioWAV/1001_IEO_ANG_MD.wav": b"",
    "AudioWAV/1076_MTI_SAD_XX.wav": b"",
    "AudioWAV/1076_MTI_HAP_XX.wav": b"",
    "AudioMP3/1001_IEO_NEU_XX.mp3": b"",
    "VideoDemographics.csv": PEOPLE,
    "processedResults/tabulatedVotes.csv": VOTES,
}
NOTHING = dict.fromkeys(EMOTIONS, 0.0)


def test_votes_on_the_voice(put: Callable[..., Path], kept_by_a_manifest: Callable[[Corpus], bool]) -> None:
    corpus = read_corpus("cremad", put(FILES))
    angry, neutral = corpus.clips
    assert neutral.labels["emotion"] == {**NOTHING, "happiness": 1 / 11, "neutral": 10 / 11}
    assert angry.labels["emotion"] == {
        **NOTHING, "anger": 5 / 12, "disgust": 5 / 12, "neutral": 1 / 12, "sadness": 1 / 12,
    }  # fmt: skip
    assert (neutral.attributes["majority"], angry.attributes["majority"]) == ("neutral", "")
    assert (angry.attributes["acted"], angry.attributes["votes"]) == ("anger", "12")
    assert (angry.speaker, angry.gender, angry.attributes["age"]) == ("1001", "male", "51")
    assert (angry.text, angry.scripted) == ("It's eleven o'clock", True)
    assert corpus.problems == (
        "left out 1076_MTI_SAD_XX: it has no sound",
        "left out 1 recordings without votes",
    )
    assert kept_by_a_manifest(corpus)


def test_votes_on_voice_and_face(put: Callable[..., Path]) -> None:
    angry, neutral = read_corpus("cremad", put(FILES), labels="multimodal").clips
    assert angry.labels["emotion"] == {**NOTHING, "anger": 0.5, "disgust": 0.25, "neutral": 0.25}
    assert neutral.labels["emotion"] == {**NOTHING, "neutral": 1.0}


def test_the_acted_emotion_needs_no_votes(put: Callable[..., Path]) -> None:
    folder = put({name: text for name, text in FILES.items() if name.startswith("Audio")})
    corpus = read_corpus("cremad", folder, labels="acted")
    assert [clip.labels["emotion"] for clip in corpus.clips] == ["anger", "neutral", "happiness"]
    assert corpus.clips[0].gender is None
    with pytest.raises(DataError, match=r'tabulatedVotes.csv, which has the votes; labels="acted"'):
        read_corpus("cremad", folder)


def test_the_agreement_of_the_voters(put: Callable[..., Path]) -> None:
    found = vote_agreement(read_corpus("cremad", put(FILES)).clips)
    assert found is not None
    assert (found.clips, found.ties, found.low) == (2, 1, 1)
    assert found.share == pytest.approx((10 / 11 + 5 / 12) / 2)
    # Pairs that agree: 45 of 55 and 20 of 66; the share of each label among all 23 votes.
    observed = (45 / 55 + 20 / 66) / 2
    chance = sum((count / 23) ** 2 for count in (5, 5, 1, 11, 1))
    assert found.kappa == pytest.approx((observed - chance) / (1 - chance))


def test_other_labels_and_other_tables_are_refused(put: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match="labels 'face': expected voice, multimodal or acted"):
        read_corpus("cremad", put(FILES), labels="face")
    folder = put({**FILES, "processedResults/tabulatedVotes.csv": VOTES.replace(",5,5,", ",five,5,")})
    with pytest.raises(DataError, match="does not hold counts of votes"):
        read_corpus("cremad", folder)
