"""The figures of a bundle on people, texts and faces that it never learnt from.

    python benchmarks/default_model.py --data DIR [--bundle B] [--precision int8] [-o results.json] [--card]
    python benchmarks/default_model.py --data DIR --against FP32_BUNDLE

Speech: the people reserved from training. Text: GoEmotions' official test, thresholds from its validation set,
and those of XED's English subtitles that training never read. Faces: the validation set of FER+ (its test set is
not at hand). Fusion: clips composed of those people, texts and faces by label, 1,000 for each of 3 seeds. --card
writes the figures into the bundle's model card.

--against: only what int8 costs, beside the same bundle with fp32 parts (`affetto export -o FP32_BUNDLE --precision
fp32`): the difference of UAR on every clip of people whom no encoder learnt from, those who validated and the
reserved; the interval is over people.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from parts.noisy import NOISES, SNR_DB, in_noise

from affetto.align.activity import speech_probability, speech_spans
from affetto.align.clock import RATE
from affetto.bundle import DEFAULT_BUNDLE, FUSION, Bundle, open_bundle, subset_key
from affetto.data.corpora import read_corpus
from affetto.data.splits import reserve
from affetto.evaluation.calibration import apply_temperature, apply_vector_scaling, ece
from affetto.evaluation.metrics import accuracy, bootstrap, multilabel_f1, tune_thresholds, uar
from affetto.features.text import load_tokenizer
from affetto.labels import EMOTIONS
from affetto.learn.config import TaskConfig
from affetto.learn.experiments.default import default, distil_text
from affetto.learn.export.card import Card, Result
from affetto.learn.export.parts import Parts, subsets
from affetto.learn.export.writer import load_config, with_calibration
from affetto.learn.training.corpora import load_clips
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.pairing import pair_by_label
from affetto.learn.training.targets import single_label, target_of
from affetto.media import decode_audio
from affetto.records import Clip, Track

TASK = TaskConfig("emotion", labels=EMOTIONS)
FOUR = ("anger", "happiness", "neutral", "sadness")
SEEDS, TRIPLES = (0, 1, 2), 1000


@dataclass(frozen=True)
class Model:
    """A bundle's parts, and its media cache."""

    bundle: Bundle
    parts: Parts
    cache: MediaCache
    precision: str

    def logits(self, tracks: Sequence[Mapping[str, Track]], view: str) -> np.ndarray:
        """[N C] of a view, or of the vote, each item alone."""
        return np.concatenate([self.parts.fuse(item)[f"emotion.{view}"] for item in tracks])

    def shares(self, tracks: Sequence[Mapping[str, Track]], subset: Sequence[str], view: str) -> np.ndarray:
        """Probabilities [N C] of a view, each item alone, by the calibration of a subset of modalities."""
        calibration = self.bundle.info.calibration[self.precision]["emotion"][subset_key(subset)]
        vector = calibration.vectors.get(view)
        if vector is not None:
            return apply_vector_scaling(self.logits(tracks, view), vector.scale, vector.bias)
        return apply_temperature(self.logits(tracks, view), calibration.temperatures[view])

    def encode(self, clips: Sequence[Clip]) -> list[dict[str, Track]]:
        self.cache.add(clips)
        return self.parts.encode_items(self.cache.inputs(clip) for clip in clips)


def open_model(path: str | None, precision: str) -> Model:
    bundle = open_bundle(path)
    names = (*bundle.info.parts.modalities(), FUSION)
    parts = Parts({name: bundle.read_part(name, precision) for name in names})
    tokenizer = load_tokenizer(bundle.read("tokenizer.json")) if bundle.info.parts.text else None
    return Model(bundle, parts, MediaCache(load_config(bundle), tokenizer), precision)


def spoken(model: Model, clips: Sequence[Clip]) -> list[Result]:
    """UAR per corpus on the reserved people, as they were recorded, with other silences around them and in noise,
    and calibration over all of them."""
    truth = np.array([EMOTIONS.index(str(clip.labels["emotion"])) for clip in clips])
    recorded = model.shares(model.encode(clips), ["speech"], "vote")
    found = per_corpus(clips, truth, recorded, "")
    for name, decode in conditions(clips).items():
        cache = MediaCache(load_config(model.bundle), decode_speech=decode)
        cache.add(clips)
        items = ({"speech": cache.window(clip)} for clip in clips)
        said = model.shares(model.parts.encode_items(items), ["speech"], "vote")
        found += per_corpus(clips, truth, said, f", {name}")
    found.append(_result("speech, reserved speakers", "ECE", ece(recorded, truth), n=len(truth)))
    return found


def conditions(clips: Sequence[Clip]) -> dict[str, Callable[..., np.ndarray]]:
    """What the recordings are heard through: a decoder for each."""
    voices = {str(clip.speech): cut(decode_audio(str(clip.speech))) for clip in clips}
    noisy = {
        f"cut to the speech, {noise} at {SNR_DB:.0f} dB": in_noise(
            clips, lambda c: voices[str(c.speech)], noise
        )
        for noise in NOISES
    }
    return {"cut to the speech": changed(cut), "between seconds of silence": changed(surrounded), **noisy}


def per_corpus(clips: Sequence[Clip], truth: np.ndarray, shares: np.ndarray, condition: str) -> list[Result]:
    """UAR of each corpus among the classes that are whole in it; intervals over speakers."""
    corpora = np.array([str(clip.corpus) for clip in clips])
    speakers = np.array([f"{clip.corpus}/{clip.speaker}" for clip in clips])
    found = []
    for name in dict.fromkeys(corpora):
        here = corpora == name
        labels = FOUR if name == "emodb" else [e for i, e in enumerate(EMOTIONS) if (truth[here] == i).any()]
        allowed = [EMOTIONS.index(label) for label in labels]
        here &= np.isin(truth, allowed)
        said = np.array(allowed)[shares[here][:, allowed].argmax(axis=1)]
        low, high = bootstrap(uar, truth[here], said, groups=speakers[here])
        protocol = f"{name}, reserved speakers, {len(labels)} classes{condition}"
        found.append(_result(protocol, "UAR", uar(truth[here], said), low, high, int(here.sum())))
    return found


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """A decoder of recordings that were changed before anybody heard them."""

    def decode(path: str, *, start: float | None, end: float | None) -> np.ndarray:
        return change(decode_audio(path, start=start, end=end))

    return decode


def cut(samples: np.ndarray) -> np.ndarray:
    """Samples [N] without the silence around the speech."""
    spans = speech_spans(speech_probability(samples))
    return samples[int(spans[0][0] * RATE) : int(spans[-1][1] * RATE)] if spans else samples


def surrounded(samples: np.ndarray) -> np.ndarray:
    """Samples [N] cut to the speech, with a second of digital silence before and after it."""
    return np.pad(cut(samples), RATE)


def written(model: Model, data: Path) -> list[Result]:
    """Macro-F1 of seven labels at once on GoEmotions, accuracy on what was kept of XED English."""
    clips = read_corpus("goemotions", data / "text_goemotions").clips
    tuning, test = ([c for c in clips if c.split == split] for split in ("validation", "test"))
    xed = kept_subtitles(data)
    shares = [
        apply_temperature(model.logits(model.encode(part), "text"), 1.0) for part in (tuning, test, xed)
    ]
    true = [np.stack([target_of(clip, TASK) for clip in part]) > 0 for part in (tuning, test, xed)]
    thresholds = tune_thresholds(true[0], shares[0])
    low, high = bootstrap(lambda t, p: multilabel_f1(t, p, thresholds), true[1], shares[1], n=300)
    right = true[2][np.arange(len(xed)), shares[2].argmax(axis=1)]
    return [
        _result("GoEmotions test, 7 emotions", "macro-F1", multilabel_f1(true[1], shares[1], thresholds),
                low, high, len(test)),
        _result("XED English, texts kept from training", "accuracy", float(right.mean()), n=len(xed)),
    ]  # fmt: skip


def kept_subtitles(data: Path) -> list[Clip]:
    """XED's English subtitles that the experiment validates on: of the others the student read a teacher's answers."""
    config = replace(distil_text().data, root=str(data))
    kept = {c.id for c in load_clips(config) if c.corpus == "xed" and c.split == "validation"}
    return [
        c for c in read_corpus("xed", data / "text_xed").clips if c.labels.get("emotion") and c.id in kept
    ]


def seen(model: Model, clips: Sequence[Clip]) -> list[Result]:
    """FER+ validation, majority vote."""
    clips = [clip for clip in clips if clip.attributes.get("majority")]
    truth = np.array([EMOTIONS.index(clip.attributes["majority"]) for clip in clips])
    said = model.shares(model.encode(clips), ["vision"], "vote").argmax(axis=1)
    found = []
    for metric, score in (("accuracy", accuracy), ("UAR", uar)):
        low, high = bootstrap(score, truth, said, n=300)
        found.append(
            _result("FER+ validation, majority vote", metric, score(truth, said), low, high, len(clips))
        )
    return found


def fused(model: Model, clips: Sequence[Clip]) -> list[Result]:
    """UAR of every subset on composed clips, mean of the seeds, and of other ways to merge the same experts."""
    scores: dict[str, list[float]] = {}
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        triples = pair_by_label(clips, rng, task=TASK, modalities=model.cache.modalities, size=TRIPLES)
        truth = np.array([EMOTIONS.index(str(clip.labels["emotion"])) for clip in triples])
        tracks = model.encode(triples)
        for subset in subsets(model.parts.modalities):
            name = "+".join(subset)
            part = [{modality: item[modality] for modality in subset} for item in tracks]
            scores.setdefault(name, []).append(uar(truth, model.shares(part, subset, "vote").argmax(axis=1)))
            if len(subset) > 1:
                for way, said in merged(model, part, subset).items():
                    scores.setdefault(f"{name}, {way}", []).append(uar(truth, said.argmax(axis=1)))
    return [
        _result(f"composed by label: {name}", "UAR", float(np.mean(values)), n=TRIPLES * len(SEEDS))
        for name, values in scores.items()
    ]


def merged(
    model: Model, tracks: Sequence[Mapping[str, Track]], subset: Sequence[str]
) -> dict[str, np.ndarray]:
    """What merges several modalities instead of the learned vote: [N C] by way."""
    experts = {name: model.shares([{name: item[name]} for item in tracks], [name], name) for name in subset}
    together = model.shares(tracks, subset, "fused")
    product = sum(np.log(shares) for shares in experts.values())
    return {
        "product of experts": np.asarray(product),
        "mean of experts": np.mean(list(experts.values()), axis=0),
        "fused view alone": together,
    }


def _result(
    protocol: str, metric: str, value: float, low: float | None = None, high: float | None = None, n: int = 0
) -> Result:
    return Result(
        protocol, metric, float(value), low, high, n, "python benchmarks/default_model.py --data DIR"
    )


def held_out(data: Path, reserved: Mapping[str, Sequence[str]]) -> tuple[list[Clip], list[Clip], list[Clip]]:
    """Speech of reserved people, test texts, test faces."""
    speech = [clip for name in ("ravdess", "nemo", "emodb") for clip in read_corpus(name, data / name).clips]
    speech = [clip for clip in reserve(speech, reserved) if clip.split == "test"]
    texts = [c for c in read_corpus("goemotions", data / "text_goemotions").clips if c.split == "test"]
    faces = [c for c in read_corpus("ferplus", data / "ferplus_faces").clips if c.split == "validation"]
    return speech, texts, faces


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", help="the default bundle unless said")
    parser.add_argument("--precision", default="int8", choices=("int8", "fp32"))
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--card", action="store_true", help="write the figures into the bundle's card")
    parser.add_argument("--against", help="the same bundle with fp32 parts: only what int8 loses")
    options = parser.parse_args()
    if options.against and options.card:
        parser.error("--against has no figures for the card")
    model = open_model(options.bundle, options.precision)
    if options.against:
        results = lost(model, open_model(options.against, "fp32"), options.data)
    else:
        speech, texts, faces = held_out(options.data, model.bundle.info.reserved)
        results = [*spoken(model, speech), *written(model, options.data), *seen(model, faces)]
        results += fused(model, [*speech, *texts, *faces])
    for r in results:
        interval = "" if r.low is None else f"[{r.low:.3f}, {r.high:.3f}]"
        print(f"{r.protocol:58} {r.metric:9} {r.value:.3f} {interval:16} n {r.n}")
    if options.output:
        options.output.write_text(json.dumps([vars(r) for r in results], indent=1))
    if options.card:
        card = replace(Card(), results=tuple(results), trained=TRAINED)
        path = Path(options.bundle or DEFAULT_BUNDLE)
        with_calibration(model.bundle, path, model.bundle.info.calibration, card)


def lost(model: Model, against: Model, data: Path) -> list[Result]:
    """UAR of a model's speech part less that of another one's, on the same clips."""
    clips = [
        clip
        for clip in load_clips(replace(default().data, root=str(data)))
        if clip.speech and clip.split in ("validation", "test") and single_label(clip, TASK) is not None
    ]
    truth = np.array([EMOTIONS.index(str(single_label(clip, TASK))) for clip in clips])
    people = [f"{clip.corpus}/{clip.speaker}" for clip in clips]
    said = np.stack(
        [one.logits(one.encode(clips), "speech").argmax(axis=1) for one in (model, against)], axis=1
    )

    def difference(true: np.ndarray, both: np.ndarray) -> float:
        return uar(true, both[:, 0]) - uar(true, both[:, 1])

    low, high = bootstrap(difference, truth, said, groups=people)
    protocol = f"speech of {len(set(people))} people, {model.precision} less {against.precision}"
    return [_result(protocol, "UAR", difference(truth, said), low, high, len(clips))]


TRAINED = (
    "Experiment `default` (`affetto train default --set data.root=DIR`): speech, text and face each alone, then their "
    "fusion on clips composed by label. Speech is heard through two frozen layers of Smart Turn v3.2 (Daily, "
    "BSD-2-Clause; from Whisper tiny, OpenAI, MIT); the text also learnt from the answers of a MiniLM (Apache-2.0) "
    "tuned by LoRA (`affetto train text_lora`). See docs/default-model.md."
)

if __name__ == "__main__":
    main()
