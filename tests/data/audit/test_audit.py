"""An audit finds what was put there, and is silent about what is clean."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from PIL import Image

from affetto import media
from affetto.data.audit import audit
from affetto.data.audit.artefacts import auc
from affetto.data.audit.copies import fingerprint, likeness
from affetto.data.audit.page import to_html
from affetto.records import Clip
from sounds import voice_like

RATE = 16000


def voice(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Syllables of their own: loudness and pitch that no other seed has."""
    rng = np.random.default_rng(seed)
    sound = voice_like(seconds, seed=seed)
    beats = np.repeat(rng.uniform(0.05, 1.0, int(seconds * 8) + 1), RATE // 8)[: len(sound)]
    smooth = np.convolve(beats, np.hanning(800) / np.hanning(800).sum(), "same")
    return (sound * smooth).astype(np.float32)


def wav(path: Path, samples: np.ndarray) -> str:
    soundfile.write(path, samples, RATE)
    return str(path)


# --- leaks, seeded one by one ---


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Eight speakers, three clips each, in three splits; nothing is wrong with them."""
    folder, clips = tmp_path_factory.mktemp("clean"), []
    for speaker in range(8):
        for take in range(3):
            name = f"{speaker}-{take}"
            sound = voice(10 * speaker + take, 1.5 + 0.1 * take)
            clips.append(
                Clip(
                    name,
                    speech=wav(folder / f"{name}.wav", sound),
                    text=f"sentence {take} as only person {speaker} says it",
                    speaker=str(speaker),
                    group=f"d{speaker}",
                    labels={"emotion": ("anger", "happiness", "sadness")[take]},
                    split=("train", "train", "train", "train", "train", "validation", "test", "test")[
                        speaker
                    ],
                    corpus="own",
                )
            )
    return clips


def noisy(samples: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(5).standard_normal(len(samples))
    return samples + 0.1 * float(np.sqrt((samples**2).mean())) * noise.astype(np.float32)


def higher(samples: np.ndarray) -> np.ndarray:
    """As a pitch shifter of audio augmentation leaves it: two semitones up, as long as before."""
    size, hop, factor = 1024, 256, 2 ** (2 / 12)
    window = np.hanning(size)
    starts = range(0, len(samples) - size, hop)
    spectra = np.array([np.fft.rfft(window * samples[at : at + size]) for at in starts])
    turn = 2 * np.pi * hop * np.arange(spectra.shape[1]) / size
    out, phase = np.zeros(int(len(samples) * factor) + 2 * size), np.angle(spectra[0])
    for number, place in enumerate(np.arange(0, len(spectra) - 1, 1 / factor)):
        at = int(place)
        out[number * hop : number * hop + size] += window * np.fft.irfft(
            np.abs(spectra[at]) * np.exp(1j * phase)
        )
        change = np.angle(spectra[at + 1]) - np.angle(spectra[at]) - turn
        phase = phase + turn + change - 2 * np.pi * np.round(change / 2 / np.pi)
    return soxr.resample(out.astype(np.float32) / 1.5, RATE * factor, RATE)[: len(samples)]


def reencoded(samples: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="MP3")
    return soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")[0]


def copied(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[list[Clip], Path], list[Clip]]:
    """A training clip once more among the test clips, changed, under another name and speaker."""

    def seed(clips: list[Clip], folder: Path) -> list[Clip]:
        samples = change(soundfile.read(clips[2].speech, dtype="float32")[0])
        stranger = replace(clips[-1], id="new", speech=wav(folder / "new.wav", samples), text=None)
        return [*clips, stranger]

    return seed


def changed(number: int, **fields: object) -> Callable[[list[Clip], Path], list[Clip]]:
    return lambda clips, folder: [
        replace(clip, **fields) if place == number else clip for place, clip in enumerate(clips)
    ]


SEEDED = {
    "a speaker": ("speaker_leak", changed(-1 % 24, speaker="0")),
    "a dialogue": ("group_leak", changed(-1 % 24, group="d0")),
    "a session": (
        "session_leak",
        lambda clips, _: [replace(clip, attributes={"session": str(n % 2)}) for n, clip in enumerate(clips)],
    ),
    "a sentence": ("sentence_leak", changed(-1 % 24, text="Sentence 0 as only person 0 says it!")),
    "a recording": (
        "recording_leak",
        lambda clips, _: [*clips[:-1], replace(clips[-1], speech=clips[0].speech, start=0.5, end=1.4)],
    ),
    "a copy": ("copy_leak", copied(lambda samples: samples)),
    "another codec": ("copy_leak", copied(reencoded)),
    "another loudness": ("copy_leak", copied(lambda samples: samples * 0.3)),
    "noise added": ("copy_leak", copied(noisy)),
    "silence added": ("copy_leak", copied(lambda samples: np.pad(samples, (6000, 3000)))),
    "another tempo": ("copy_leak", copied(lambda samples: soxr.resample(samples, RATE, RATE / 1.06))),
    "another pitch": ("copy_leak", copied(higher)),
}


def test_a_clean_set_has_no_leak(clean: list[Clip]) -> None:
    assert not audit(clean, media).leaks


@pytest.mark.parametrize("what", SEEDED)
def test_a_seeded_leak_is_found(clean: list[Clip], tmp_path: Path, what: str) -> None:
    code, seed = SEEDED[what]
    assert code in {leak.code for leak in audit(seed(clean, tmp_path), media).leaks}


def test_a_picture_that_was_saved_again_is_a_copy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = []
    for number in range(6):
        levels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(levels).resize((64, 64), Image.Resampling.BICUBIC)
        picture.save(tmp_path / f"{number}.png")
        clips.append(Clip(str(number), vision=str(tmp_path / f"{number}.png"), split="train"))
    Image.open(tmp_path / "3.png").save(tmp_path / "again.jpg", quality=80)
    clips.append(Clip("again", vision=str(tmp_path / "again.jpg"), split="test"))
    (leak,) = audit(clips, media).leaks
    assert leak.clips == ("3", "again")


# --- prints ---


def test_takes_are_not_copies() -> None:
    prints = [fingerprint(voice(seed)) for seed in range(6)]
    for i, one in enumerate(prints):
        for other in prints[i + 1 :]:
            assert likeness(one, other) < 0.7
        assert likeness(one, one) == pytest.approx(1.0, abs=1e-4)


def test_short_sounds_have_no_print() -> None:
    assert fingerprint(voice(0, 0.5)) is None
    assert fingerprint(np.zeros(100, np.float32)) is None
    assert fingerprint(np.zeros(RATE, np.float32)) is None


# --- artefacts ---


def labelled(tmp_path: Path, sounds: dict[str, list[np.ndarray]]) -> list[Clip]:
    return [
        Clip(
            f"{emotion}{n}",
            speech=wav(tmp_path / f"{emotion}{n}.wav", sound),
            speaker=str(n % 5),
            labels={"emotion": emotion},
        )
        for emotion, found in sounds.items()
        for n, sound in enumerate(found)
    ]


def test_a_cut_that_tells_the_class_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def some(seed: int) -> list[np.ndarray]:
        return [voice(seed + n, float(rng.uniform(0.9, 1.6))) for n in range(16)]

    sounds = {"anger": some(0), "fear": [sound[: RATE + 1] for sound in some(100)], "neutral": some(200)}
    sounds["fear"] = [
        np.pad(sound, (0, max(RATE + 1 - len(sound), 0)), mode="wrap") for sound in sounds["fear"]
    ]
    (cut,) = [
        finding for finding in audit(labelled(tmp_path, sounds), media).findings if finding.code == "cut"
    ]
    assert cut.severity == "problem"
    assert cut.numbers["classes"] == {"fear": 16}
    assert "none of anger, neutral" in cut.message


def test_silence_that_tells_the_class_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)

    def padded(seed: int, seconds: float) -> list[np.ndarray]:
        lead = rng.uniform(0.5, 1.5, 16) * seconds * RATE
        return [np.pad(voice(seed + n, 1.0 + n / 50), (int(x), 0)) for n, x in enumerate(lead)]

    sounds = {"anger": padded(0, 0.2), "fear": padded(100, 0.2), "neutral": padded(200, 1.0)}
    edges = [f for f in audit(labelled(tmp_path, sounds), media).findings if f.code == "edge"]
    (lead,) = [finding for finding in edges if finding.numbers["fact"] == "lead"]
    assert lead.numbers["neutral"] == 1.0


def test_the_area_under_the_curve_counts_pairs() -> None:
    rng = np.random.default_rng(0)
    values, positive = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in values[positive] for b in values[~positive]]
    assert auc(values, positive) == pytest.approx(np.mean(pairs))


def test_a_class_that_one_corpus_has_alone() -> None:
    clips = [
        Clip(f"{corpus}{emotion}{n}", text="x", corpus=corpus, labels={"emotion": emotion})
        for corpus, emotions in {"one": ("anger", "disgust"), "two": ("anger", "neutral")}.items()
        for emotion in emotions
        for n in range(20)
    ]
    (finding,) = audit(clips).findings
    assert finding.code == "class_of_one_corpus"
    assert "disgust (20 of 20 in one)" in finding.message
    assert "anger" not in finding.message


# --- faults ---


def test_faults_are_told_with_their_codes(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not a recording")
    loud = np.clip(voice(0) * 20, -0.5, 0.5)
    clips = [
        Clip("gone", speech=str(tmp_path / "gone.wav")),
        Clip("text", speech=str(tmp_path / "text.wav")),
        Clip("faint", speech=wav(tmp_path / "faint.wav", voice(1) * 1e-3)),
        Clip("short", speech=wav(tmp_path / "short.wav", voice(2, 0.2))),
        Clip("clipped", speech=wav(tmp_path / "clipped.wav", loud)),
        Clip("clipped", text="a name twice"),
    ]
    found = {finding.code: finding for finding in audit(clips, media).findings}
    assert found["unreadable"].numbers == {"media_not_found": 1, "audio_unknown_format": 1}
    assert {code: found[code].clips for code in ("faint", "short", "clipped")} == {
        "faint": ("faint",),
        "short": ("short",),
        "clipped": ("clipped",),
    }
    assert found["repeated_id"].clips == ("clipped",)
    assert found["no_transcript"].numbers == {}


def test_recordings_of_a_lower_rate_are_found(tmp_path: Path) -> None:
    clips = []
    for number in range(24):
        sound = noisy(voice(number))
        if number % 8 == 0:
            sound = soxr.resample(soxr.resample(sound, RATE, 6000), 6000, RATE)
        clips.append(Clip(str(number), speech=wav(tmp_path / f"{number}.wav", sound)))
    (narrow,) = [finding for finding in audit(clips, media).findings if finding.code == "narrow_band"]
    assert narrow.clips == ("0", "8", "16")


def test_copies_with_two_labels_are_a_problem(tmp_path: Path) -> None:
    path = wav(tmp_path / "a.wav", voice(3))
    other = wav(tmp_path / "b.wav", voice(3))
    clips = [
        Clip("a", speech=path, labels={"emotion": "anger"}),
        Clip("b", speech=other, labels={"emotion": "fear"}),
    ]
    (conflict,) = audit(clips, media).findings
    assert (conflict.code, conflict.severity) == ("copy_conflict", "problem")


def test_the_page_is_one_file_that_runs_nothing(clean: list[Clip]) -> None:
    hostile = [replace(clean[0], split="test", speaker="<script>alert(1)</script>"), *clean[1:]]
    hostile[1] = replace(hostile[1], speaker="<script>alert(1)</script>")
    page = to_html(audit(hostile), "my.csv")
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "give each one split only" in page
