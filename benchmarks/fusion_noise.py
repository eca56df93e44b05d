"""Fusion forms where one modality is noisy: what each loses, beside a product of calibrated experts.

    python benchmarks/fusion_noise.py --data DIR -o fusion-noise.jsonl [--seeds 5] [--forms concat adaptive]
    python benchmarks/fusion_noise.py -o fusion-noise.jsonl

Clips are composed by label, as no corpus at hand has all three modalities: speech, a text and a face of one
emotion. Their parts are encoded once, by the encoders of a bundle, clean and with noise; what is trained is the
fusion with its heads, from the bundle's weights where a form has the same, on people, texts and faces that the
encoders never learnt from (the bundle's validation clips). In training every other row has noise in one modality,
of any strength: speech at 0 to 20 dB of pink noise or babble, up to 60 % of the words missing, a face blurred by
up to 4.8 pixels of 48. The test: 1,000 compositions of reserved people, test texts and test faces, clean, with
speech at 0 dB, with half the words missing, with faces blurred by 4 pixels. The product of experts multiplies what
the bundle says of each modality alone, each at a temperature fitted on the same clean and noisy clips. The
specialists say how much of a loss could be saved at all: a `concat` for each noise, trained on nothing but clips that
have it, and one trained on clean clips.

Every finished training is one line of the output and is not repeated. Without --data, the table of what is there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from affetto.bundle import FUSION, open_bundle
from affetto.evaluation.calibration import apply_temperature, fit_temperature
from affetto.evaluation.metrics import uar
from affetto.features.text import load_tokenizer
from affetto.labels import EMOTIONS
from affetto.learn.config import FusionConfig, ModelConfig, TaskConfig
from affetto.learn.experiments.default import default
from affetto.learn.export.parts import Parts, padded
from affetto.learn.export.writer import load_config, load_model
from affetto.learn.fusion import LEVELS
from affetto.learn.models.build import backbones, build_recogniser
from affetto.learn.models.recogniser import VOTE, Recogniser
from affetto.learn.training.augmentation import add_noise, babble, blur_image, coloured_noise
from affetto.learn.training.corpora import load_clips
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.objectives import task_losses
from affetto.learn.training.optimisation import learning_rate
from affetto.learn.training.targets import single_label
from affetto.records import MODALITIES, Batch, Clip, Track

TASK = TaskConfig("emotion", labels=EMOTIONS)
#: But `prefix`, which needs a language model.
FORMS = (*(form for form in LEVELS["feature"] if form != "prefix"), *LEVELS["modality"], "late", "hybrid")
PRODUCT, SPECIALISTS = "product of experts", "specialists"
CONDITIONS = (None, *MODALITIES)  # the modality that is noisy
EACH, VARIANTS, TRIPLES = 150, 3, 1000  # clips per class, noisy variants of a clip in training, compositions
STEPS, ROWS, PEAK = 400, 64, 1e-3
SNR_DB, MISSING, BLUR = 0.0, 0.5, 4.0  # the noise of the test

Rng = np.random.Generator


@dataclass(frozen=True)
class Encoded:
    """One modality of a clip: its Track [T D] and what the bundle says of it alone [C], clean and then noisy."""

    label: int
    tracks: tuple[np.ndarray, ...]
    logits: tuple[np.ndarray, ...]


#: Modality to class to its clips.
Pools = Mapping[str, Mapping[int, Sequence[Encoded]]]


# --- clips, encoded once ---


class Encoders:
    """The parts of a bundle, and its media."""

    def __init__(self, path: str | None, data: Path) -> None:
        bundle = open_bundle(path)
        self.config: ModelConfig = replace(load_config(bundle), tasks=(TASK,))
        model = load_model(bundle)
        self.weights = model.state_dict()
        self.forms = {name: backbone.form for name, backbone in backbones(model).items()}
        self._parts = Parts(
            {name: bundle.read_part(name, bundle.precisions()[0]) for name in (*MODALITIES, FUSION)}
        )
        self._cache = MediaCache(load_config(bundle), load_tokenizer(bundle.read("tokenizer.json")))
        experiment = default().data
        self._clips = [c for c in load_clips(replace(experiment, root=str(data))) if c.corpus != "xed"]

    def pools(self, split: str, modality: str, rng: Rng) -> dict[int, list[Encoded]]:
        """Clips of a split by class, the same number of each class where there are enough."""
        clips = [c for c in self._clips if c.split == split and modality in c.modalities()]
        by_label: dict[int, list[Clip]] = {}
        for at in rng.permutation(len(clips)):
            label = single_label(clips[at], TASK)
            if label is not None and len(by_label.setdefault(EMOTIONS.index(label), [])) < EACH:
                by_label[EMOTIONS.index(label)].append(clips[at])
        chosen = [clip for own in by_label.values() for clip in own]
        if unreadable := self._cache.add(chosen):
            raise next(iter(unreadable.values()))
        raw = {(clip.corpus, clip.id): self._cache.inputs(clip)[modality] for clip in chosen}
        noise = Noise([*raw.values()], rng)
        return {
            label: [
                self._encode(modality, label, noise.variants(modality, raw[c.corpus, c.id], split))
                for c in own
            ]
            for label, own in by_label.items()
        }

    def _encode(self, modality: str, label: int, variants: Sequence[np.ndarray]) -> Encoded:
        tracks = [self._parts.encode(modality, *padded([values])) for values in variants]
        said = [self._parts.fuse({modality: track})[f"emotion.{modality}"][0] for track in tracks]
        return Encoded(label, tuple(track.values[0][track.mask[0]] for track in tracks), tuple(said))


class Noise:
    """Makes a medium worse; babble is of the other clips of the same split."""

    def __init__(self, others: Sequence[np.ndarray], rng: Rng) -> None:
        self._others, self._rng = others, rng

    def variants(self, modality: str, values: np.ndarray, split: str) -> list[np.ndarray]:
        """The medium as it is, then noisy: as the test has it, or several times of any strength."""
        if split == "test":
            return [values, self._noisy(modality, values, 1.0)]
        strengths = self._rng.uniform(0, 1.2, VARIANTS)
        return [values, *(self._noisy(modality, values, float(s)) for s in strengths)]

    def _noisy(self, modality: str, values: np.ndarray, strength: float) -> np.ndarray:
        """Strength 1 is that of the test."""
        if modality == "text":
            kept = self._rng.random(len(values)) >= MISSING * strength
            return values[kept] if kept.any() else values[:1]
        if modality == "vision":
            return np.stack([blur_image(frame, max(BLUR * strength, 0.1)) for frame in values])
        if self._rng.random() < 0.5:
            noise = coloured_noise("pink", len(values), self._rng)
        else:
            noise = babble(self._voice, len(values), self._rng)
        return add_noise(values, noise, 20.0 - (20.0 - SNR_DB) * min(strength, 1.0))

    def _voice(self, rng: Rng) -> np.ndarray:
        return self._others[rng.integers(len(self._others))]


# --- compositions ---


def compose(
    pools: Pools, labels: np.ndarray, noisy: Sequence[str | None], rng: Rng
) -> list[dict[str, tuple[Encoded, int]]]:
    """For each row a clip of its label from each modality, and which of its variants."""
    rows = []
    for label, worse in zip(labels.tolist(), noisy, strict=True):
        row = {}
        for modality, by_label in pools.items():
            clip = by_label[label][rng.integers(len(by_label[label]))]
            variant = int(rng.integers(1, len(clip.tracks))) if modality == worse else 0
            row[modality] = (clip, variant)
        rows.append(row)
    return rows


def tracks_of(rows: Sequence[Mapping[str, tuple[Encoded, int]]]) -> dict[str, Track]:
    """Modality to the Tracks [B T D] of so many rows."""
    return {
        modality: Track(*map(torch.from_numpy, padded([clip.tracks[at] for clip, at in own])))
        for modality, own in ((m, [row[m] for row in rows]) for m in rows[0])
    }


# --- training and testing ---


def train(
    form: str,
    encoders: Encoders,
    pools: Pools,
    seed: int,
    noises: Sequence[str | None] = (None, None, None, *MODALITIES),
) -> Recogniser:
    """The fusion and the heads of a form; encoders are not asked. `noises`: the modality that is noisy in a row is
    drawn from these."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    fusion = FusionConfig(name=form, dropout=encoders.config.fusion.dropout)
    recogniser = build_recogniser(replace(encoders.config, fusion=fusion), forms=encoders.forms)
    own = recogniser.state_dict()
    same = {n: w for n, w in encoders.weights.items() if n in own and w.shape == own[n].shape}
    recogniser.load_state_dict(same, strict=False)
    learning = [
        p for part in (recogniser.fusion, recogniser.heads, recogniser.votes) for p in part.parameters()
    ]
    optimizer = torch.optim.AdamW(learning, weight_decay=0.01)
    recogniser.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, STEPS, PEAK, 0.1)
        labels = rng.integers(len(EMOTIONS), size=ROWS)
        noisy = [noises[int(rng.integers(len(noises)))] for _ in labels]
        output = recogniser.fuse(tracks_of(compose(pools, labels, noisy, rng)))
        target = functional.one_hot(torch.from_numpy(labels), len(EMOTIONS)).float()
        batch = Batch({}, {TASK.name: target}, {TASK.name: torch.ones(ROWS, dtype=torch.bool)})
        losses = task_losses(output, batch, [TASK], modalities=MODALITIES, all_modalities=MODALITIES)
        optimizer.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
    return recogniser.eval()


@torch.inference_mode()
def said_by(recogniser: Recogniser, rows: Sequence[Any]) -> np.ndarray:
    """The classes [N] that the vote gives."""
    found: list[Tensor] = []
    for at in range(0, len(rows), 200):
        found.append(recogniser.fuse(tracks_of(rows[at : at + 200])).logits[TASK.name][VOTE].argmax(dim=1))
    return torch.cat(found).numpy()


def temperatures(pools: Pools) -> dict[str, float]:
    """Of each modality's own answers, over clean clips and noisy ones."""
    found = {}
    for modality, by_label in pools.items():
        clips = [clip for own in by_label.values() for clip in own]
        logits = np.stack([said for clip in clips for said in clip.logits])
        truth = np.array([clip.label for clip in clips for _ in clip.logits])
        found[modality] = fit_temperature(logits, truth)
    return found


def product(rows: Sequence[Mapping[str, tuple[Encoded, int]]], heat: Mapping[str, float]) -> np.ndarray:
    """The classes [N] that the product of the modalities' probabilities gives."""
    logs = [
        np.log(apply_temperature(np.stack([row[m][0].logits[row[m][1]] for row in rows]), heat[m]))
        for m in rows[0]
    ]
    return np.sum(logs, axis=0).argmax(axis=1)


# --- the command ---


def run(arguments: argparse.Namespace) -> None:
    """Every training that the output does not hold yet, a line each."""
    rng = np.random.default_rng(0)
    encoders = Encoders(arguments.bundle, arguments.data)
    fitting, test = (
        {m: encoders.pools(split, m, rng) for m in MODALITIES} for split in ("validation", "test")
    )
    done = {(line["form"], line["seed"]) for line in lines_of(arguments.output)}
    heat = temperatures(fitting)
    labels = np.arange(TRIPLES) % len(EMOTIONS)
    for seed in range(arguments.seeds):
        for form in (PRODUCT, SPECIALISTS, *arguments.forms):
            if (form, seed) in done:
                continue
            trained = None if form in (PRODUCT, SPECIALISTS) else train(form, encoders, fitting, seed)
            scores = {}
            for condition in CONDITIONS:
                rows = compose(test, labels, [condition] * TRIPLES, np.random.default_rng(1000 + seed))
                if form == PRODUCT:
                    said = product(rows, heat)
                else:
                    said = said_by(trained or train("concat", encoders, fitting, seed, [condition]), rows)
                scores[condition or "clean"] = uar(labels, said)
            line = json.dumps({"form": form, "seed": seed, "uar": scores})
            with arguments.output.open("a") as stream:
                print(line, file=stream)
            print(line, flush=True)


def show(lines: Sequence[Mapping[str, Any]]) -> None:
    """UAR of every form, mean of the seeds: clean, then what each noise leaves and takes."""
    print("| form | seeds | clean | noisy speech | noisy text | noisy face |")
    print("|---|---|---|---|---|---|")
    for form in dict.fromkeys(line["form"] for line in lines):
        own = [line["uar"] for line in lines if line["form"] == form]
        clean = np.array([one["clean"] for one in own])
        cells = [f"{clean.mean():.3f} ± {clean.std(ddof=min(1, len(own) - 1)):.3f}"]
        for modality in MODALITIES:
            left = np.array([one[modality] for one in own])
            cells.append(f"{left.mean():.3f} ({100 * (left - clean).mean():+.1f})")
        print(f"| `{form}` | {len(own)} | {' | '.join(cells)} |")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The finished trainings of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="train what is not there yet; without it the table is shown"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("fusion-noise.jsonl"))
    parser.add_argument("--bundle", help="the default bundle unless said")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--forms", nargs="+", default=FORMS, choices=FORMS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.data:
        run(arguments)
    show(lines_of(arguments.output))


if __name__ == "__main__":
    main()
