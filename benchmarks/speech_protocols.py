"""Speech on people, and corpora, that a model has never heard: the figures of docs/default-model.md.

Five folds, each holding out speakers of RAVDESS (4 folds by actor), nEMO (3 by pairs) and EmoDB (5 by pairs) at
once, and three runs that hold out a whole corpus. Every model is the speech stage of the default experiment.

    python benchmarks/speech_protocols.py --data DIR -o runs/protocols [--only fold-0 ...]

With --experiment speech_scratch it is the stage that begins with nothing, which takes hints with --set
train.stages.0.hint.weights=embedding_model.onnx (docs/default-model.md).
A run whose predictions are there is not repeated, so that the command can be stopped and given again, and runs
can be shared between processes with --only. Without --only, the table is printed and report.json written; with
--report, from the runs that are there.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from parts.noisy import NOISES, in_noise

from affetto.data.splits import folds_by_speaker
from affetto.evaluation.calibration import apply_temperature, aurc, ece, fit_temperature, risk_coverage
from affetto.evaluation.metrics import bootstrap, uar
from affetto.labels import EMOTIONS
from affetto.learn.config import ExperimentConfig, apply_settings
from affetto.learn.experiments import named_experiment
from affetto.learn.training.corpora import load_clips
from affetto.learn.training.loop import fit
from affetto.learn.training.media_cache import MediaCache, as_float
from affetto.learn.training.validation import predict_logits
from affetto.records import Clip

FOLDS = {"ravdess": 4, "nemo": 3, "emodb": 5}
#: Only these classes of EmoDB are whole: the others' clips are cut at 2 s.
FOUR = ("anger", "happiness", "neutral", "sadness")


def splits(clips: Sequence[Clip]) -> dict[str, list[Clip]]:
    """Run name to the clips, what is held out as "test" and all else as "train"."""
    by_corpus = {name: [clip for clip in clips if clip.corpus == name] for name in FOLDS}
    members = {name: folds_by_speaker(by_corpus[name], folds) for name, folds in FOLDS.items()}
    runs = {}
    for fold in range(max(FOLDS.values())):
        held = {
            (c.corpus, c.id) for name, folds in FOLDS.items() if fold < folds for c in members[name][fold]
        }
        runs[f"fold-{fold}"] = [_split(clip, (clip.corpus, clip.id) in held) for clip in clips]
    for name in FOLDS:
        runs[f"without-{name}"] = [_split(clip, clip.corpus == name) for clip in clips]
    return runs


def _split(clip: Clip, held_out: bool) -> Clip:
    return replace(clip, split="test" if held_out else "train")


def run(config: ExperimentConfig, clips: Sequence[Clip], folder: Path, resume: bool) -> None:
    """Train, and store the logits of the held-out clips: clean, and with noise at 10 dB."""
    result = fit(config, clips, folder, resume=resume)
    test = [clip for clip in clips if clip.split == "test"]
    result.cache.add(test)
    stored = {"clean": _logits(result, test, result.cache)}
    for noise in NOISES:
        stored[noise] = _logits(result, test, _noisy(config, result.cache, test, noise))
    store(folder, test, stored)


def store(folder: Path, test: Sequence[Clip], logits: Mapping[str, np.ndarray]) -> None:
    """Keep the logits [N 7] of held-out clips by condition, as `report` reads them."""
    part = folder / "part.npz"
    np.savez(
        part,
        truth=[EMOTIONS.index(str(clip.labels["emotion"])) for clip in test],
        corpus=[str(clip.corpus) for clip in test],
        speaker=[f"{clip.corpus}/{clip.speaker}" for clip in test],
        **logits,
    )
    part.replace(folder / "test.npz")


def _logits(result, clips: Sequence[Clip], cache: MediaCache) -> np.ndarray:
    return predict_logits(result.recogniser, clips, cache).logits["emotion"]["speech"]


def _noisy(config: ExperimentConfig, clean: MediaCache, clips: Sequence[Clip], noise: str) -> MediaCache:
    cache = MediaCache(
        config.model, decode_speech=in_noise(clips, lambda clip: as_float(clean.speech(clip)), noise)
    )
    cache.add(clips)
    return cache


# --- report ---------------------------------------------------------------------------------------------------


def report(folder: Path) -> dict:
    """All figures, from the stored logits of the runs that are there."""
    files = sorted(folder.glob("fold-*/test.npz"))
    folds = _gather(files)
    rows: dict[str, dict] = {}
    for name in FOLDS:
        here = folds["corpus"] == name
        labels = (
            FOUR
            if name == "emodb"
            else [e for i, e in enumerate(EMOTIONS) if (folds["truth"][here] == i).any()]
        )
        for condition in ("clean", *(noise for noise in NOISES if noise in folds)):
            rows[f"{name} {condition}"] = _score(folds, here, condition, labels)
    left_out = []
    for name in FOLDS:
        file = folder / f"without-{name}" / "test.npz"
        if file.exists():
            alone = _gather([file])
            rows[f"{name}, corpus never heard"] = _score(alone, alone["corpus"] == name, "clean", FOUR)
            left_out.append(rows[f"{name}, corpus never heard"]["uar"])
    return {
        "folds": len(files),
        "uar": rows,
        "corpus never heard, mean": float(np.mean(left_out)) if len(left_out) == len(FOLDS) else None,
        "recall": _recalls(folds),
        "trust": _trust(folds),
    }


def _gather(files: Sequence[Path]) -> dict[str, np.ndarray]:
    stored = [np.load(file) for file in files]
    gathered = {key: np.concatenate([part[key] for part in stored]) for key in stored[0].files}
    gathered["fold"] = np.concatenate([np.full(len(part["truth"]), i) for i, part in enumerate(stored)])
    return gathered


def _score(data: dict[str, np.ndarray], here: np.ndarray, condition: str, labels: Sequence[str]) -> dict:
    """UAR over the clips of some labels, the answer chosen among them; interval over speakers."""
    allowed = [EMOTIONS.index(name) for name in labels]
    here = here & np.isin(data["truth"], allowed)
    chosen = np.array(allowed)[data[condition][here][:, allowed].argmax(axis=1)]
    truth = data["truth"][here]
    low, high = bootstrap(uar, truth, chosen, groups=data["speaker"][here], n=1000, seed=0)
    return {"uar": uar(truth, chosen), "interval": [low, high], "n": int(here.sum()), "labels": list(labels)}


def _recalls(data: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Recall per corpus and class, all seven answers allowed: a corpus that gives a class away shows here."""
    said = data["clean"].argmax(axis=1)
    found: dict[str, dict[str, float]] = {}
    for name in FOLDS:
        for index, emotion in enumerate(EMOTIONS):
            here = (data["corpus"] == name) & (data["truth"] == index)
            if here.any():
                found.setdefault(name, {})[emotion] = float((said[here] == index).mean())
    return found


def _trust(data: dict[str, np.ndarray]) -> dict:
    """Calibration and abstention on all folds pooled; each fold's temperature is fitted on the other folds."""
    probabilities = np.zeros_like(data["clean"], dtype=np.float64)
    for fold in np.unique(data["fold"]):
        here = data["fold"] == fold
        temperature = fit_temperature(data["clean"][~here], data["truth"][~here])
        probabilities[here] = apply_temperature(data["clean"][here], temperature)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == data["truth"]
    low, high = bootstrap(
        _calibration_error, data["truth"], probabilities, groups=data["speaker"], n=300, seed=0
    )
    _, risk = risk_coverage(confidence, right)
    return {
        "n": len(right),
        "ece": ece(probabilities, data["truth"]),
        "ece interval": [low, high],
        "accuracy": float(right.mean()),
        "accuracy at 80 % coverage": float(1 - risk[int(0.8 * len(risk)) - 1]),
        "aurc": aurc(confidence, right),
        "temperature": fit_temperature(data["clean"], data["truth"]),
    }


def _calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    return ece(probabilities, truth)


def protocol(settings: Sequence[str], experiment: str = "speech") -> tuple[ExperimentConfig, list[Clip]]:
    """An experiment of speech alone with these settings, nobody reserved, and all its clips."""
    config = apply_settings(named_experiment(experiment), ["data.validation=0", *settings])
    config = replace(config, data=replace(config.data, reserved={}))
    return config, [clip for clip in load_clips(config.data, config.seed) if "emotion" in clip.labels]


def _train(options: argparse.Namespace, say: Callable[[str], None]) -> None:
    config, clips = protocol([f"data.root={options.data}", *options.set], options.experiment)
    say(f"{len(clips)} clips: {dict(Counter(clip.corpus for clip in clips))}")
    for name, divided in splits(clips).items():
        folder = options.output / name
        if (options.only is None or name in options.only) and not (folder / "test.npz").exists():
            say(f"--- {name}")
            run(replace(config, name=name), divided, folder, resume=folder.exists())


def main(say: Callable[[str], None] = print) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the folder that holds ravdess, emodb and nemo")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/protocols"))
    parser.add_argument("--experiment", choices=("speech", "speech_scratch"), default="speech")
    parser.add_argument("--only", nargs="+", help="names of runs; the report is then left out")
    parser.add_argument("--report", action="store_true", help="train nothing: report what is there")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="PATH=VALUE", help="settings of the experiment"
    )
    options = parser.parse_args()
    if not options.report:
        _train(options, say)
    if options.only is None:
        found = report(options.output)
        (options.output / "report.json").write_text(json.dumps(found, indent=1))
        for name, row in found["uar"].items():
            say(
                f"{name:32} UAR {row['uar']:.3f} [{row['interval'][0]:.3f}, {row['interval'][1]:.3f}]  n {row['n']}"
            )
        say(f"corpus never heard, mean         UAR {found['corpus never heard, mean']}")
        say(json.dumps(found["trust"], indent=1))


if __name__ == "__main__":
    main()
