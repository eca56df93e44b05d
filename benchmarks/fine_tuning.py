"""What fine-tuning gives: text models of several runs on texts that nobody has trained on.

    python benchmarks/fine_tuning.py scores BUNDLE ... --data DIR [--precision int8]
    python benchmarks/fine_tuning.py zero-shot BACKBONE --data DIR
    python benchmarks/fine_tuning.py speed BACKBONE

scores: GoEmotions' official test as 7 labels at once, thresholds from its validation set (macro-F1); accuracy on
XED English, whole, and on those of its texts that `distil_text` has kept from its student.
zero-shot: the same for a sentence encoder that was never trained for emotions: a text is as near to an emotion as
to a sentence that says it.
speed: what a training step, an answer and a file of the backbone cost, by what of it learns.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from affetto.bundle import FUSION, open_bundle
from affetto.data.corpora import read_corpus
from affetto.evaluation.calibration import apply_temperature
from affetto.evaluation.metrics import bootstrap, multilabel_f1, tune_thresholds
from affetto.features.text import encode, load_tokenizer
from affetto.labels import EMOTIONS
from affetto.learn.config import (
    BackboneConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    TaskConfig,
    TextConfig,
)
from affetto.learn.experiments import named_experiment
from affetto.learn.export.onnx import export_parts
from affetto.learn.export.parts import Parts, padded
from affetto.learn.export.quantise import quantise_dynamic
from affetto.learn.export.writer import rounded
from affetto.learn.models.build import add_adapters, build_recogniser, pretrained_tokenizer
from affetto.learn.training.corpora import load_clips
from affetto.learn.training.optimisation import freeze, parameter_groups
from affetto.learn.training.targets import target_of
from affetto.records import Clip, Track

TASK = TaskConfig("emotion", labels=EMOTIONS)
PROMPTS = {
    "anger": "I am angry.", "disgust": "This is disgusting.", "fear": "I am afraid.",
    "happiness": "I am happy.", "neutral": "This is a plain statement.", "sadness": "I am sad.",
    "surprise": "I am surprised.",
}  # fmt: skip
ROWS, TOKENS, ROUNDS = 32, 20, 5


def texts(data: Path) -> dict[str, list[Clip]]:
    """GoEmotions' validation and test, XED English, and the part of it that is validation in `distil_text`."""
    spoken = read_corpus("goemotions", data / "text_goemotions").clips
    found = {split: [clip for clip in spoken if clip.split == split] for split in ("validation", "test")}
    found["XED English"] = list(read_corpus("xed", data / "text_xed").clips)
    config = named_experiment("distil_text")
    split = load_clips(replace(config.data, root=str(data)), config.seed)
    kept = {clip.id for clip in split if clip.corpus == "xed" and clip.split == "validation"}
    found["XED English, kept from the student"] = [c for c in found["XED English"] if c.id in kept]
    return found


def report(name: str, clips: dict[str, list[Clip]], shares: dict[str, np.ndarray]) -> None:
    """Print the figures of one model: shares [N 7] of each set of texts."""
    true = {key: np.stack([target_of(clip, TASK) for clip in part]) > 0 for key, part in clips.items()}
    thresholds = tune_thresholds(true["validation"], shares["validation"])
    value = multilabel_f1(true["test"], shares["test"], thresholds)
    low, high = bootstrap(lambda t, p: multilabel_f1(t, p, thresholds), true["test"], shares["test"], n=300)
    print(f"{name}: GoEmotions macro-F1 {value:.3f} [{low:.3f}, {high:.3f}]", flush=True)
    for key in (key for key in clips if key.startswith("XED")):
        right = true[key][np.arange(len(true[key])), shares[key].argmax(axis=1)]
        print(f"{name}: {key} accuracy {right.mean():.3f}, n {len(right)}", flush=True)


def scores(paths: list[str], data: Path, precision: str) -> None:
    """The figures of bundles."""
    clips = texts(data)
    for path in paths:
        bundle = open_bundle(None if path == "default" else path)
        names = (*bundle.info.parts.modalities(), FUSION)
        parts = Parts({name: bundle.read_part(name, precision) for name in names})
        assert bundle.info.parts.text is not None
        tokenizer = load_tokenizer(bundle.read("tokenizer.json"))
        longest = bundle.info.parts.text.max_tokens
        said: dict[str, dict[str, np.ndarray]] = {}
        shares = {}
        for key, part in clips.items():
            logits = []
            for clip in part:
                if clip.text not in said:
                    ids = encode(tokenizer, clip.text or "", longest)
                    said[clip.text or ""] = parts.fuse({"text": parts.encode("text", *padded([ids]))})
                logits.append(said[clip.text or ""]["emotion.text"][0])
            shares[key] = apply_temperature(np.stack(logits), 1.0)
        report(path, clips, shares)


def zero_shot(path: str, data: Path) -> None:
    """The figures of a backbone that has never seen a label."""
    config = _model(path, BackboneConfig(path, pooling="mean"))
    encoder = build_recogniser(config).eval().encoders["text"]
    tokenizer = load_tokenizer(pretrained_tokenizer(config) or b"")

    def vectors(sentences: list[str]) -> np.ndarray:
        rows = [encode(tokenizer, text, 64) for text in sentences]
        order = np.argsort([len(row) for row in rows])
        found = []
        for first in range(0, len(order), ROWS):
            ids, mask = padded([rows[i] for i in order[first : first + ROWS]])
            with torch.inference_mode():
                states = encoder(Track(torch.from_numpy(ids), torch.from_numpy(mask))).values[:, 0]
            found.append(torch.nn.functional.normalize(states, dim=-1).numpy())
        return np.concatenate(found)[np.argsort(order)]

    emotions = vectors([PROMPTS[name] for name in EMOTIONS])
    clips = texts(data)
    cosines = {key: vectors([clip.text or "" for clip in part]) @ emotions.T for key, part in clips.items()}
    report(f"{path} by prompts", clips, {key: apply_temperature(x, 0.05) for key, x in cosines.items()})


def speed(path: str) -> None:
    """Time and size of a backbone on one thread, by what of it learns."""
    torch.set_num_threads(1)
    cases = {
        "frozen": BackboneConfig(path),
        "LoRA, attention": BackboneConfig(path, lora=LoraConfig()),
        "LoRA, all linear": BackboneConfig(path, lora=LoraConfig(targets=("all-linear",))),
        "last two layers": BackboneConfig(path, trained_layers=2),
        "all": BackboneConfig(path, trained_layers=None),
    }
    ids = torch.randint(1000, 20000, (ROWS, TOKENS))
    track = Track(ids, torch.ones_like(ids, dtype=torch.bool))
    for name, backbone in cases.items():
        config = _model(path, backbone)
        model = build_recogniser(config)
        add_adapters(model, config)
        freeze(model, ())
        optimiser = torch.optim.AdamW(parameter_groups(model.train(), 0.01), lr=1e-4)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        spent = []
        for _ in range(ROUNDS):
            began = time.thread_time()
            optimiser.zero_grad()
            model({"text": track}).logits["emotion"]["vote"].square().mean().backward()
            optimiser.step()
            spent.append(time.thread_time() - began)
        share = trained / sum(p.numel() for p in model.parameters())
        print(f"{name:18} trained {share:6.2%}  step {1000 * np.median(spent):6.0f} ms", flush=True)
    _answers(rounded(model))


def _answers(model: torch.nn.Module) -> None:
    parts = export_parts(model, picture=None)  # type: ignore[arg-type]
    ids, mask = padded([np.arange(1000, 1000 + TOKENS)])
    for name, part in {"fp32": parts["text"], "int8": quantise_dynamic(parts["text"]).model}.items():
        runner = Parts({**parts, "text": part})
        spent = []
        for _ in range(4 * ROUNDS):
            began = time.thread_time()
            runner.encode("text", ids, mask)
            spent.append(time.thread_time() - began)
        print(f"{name:18} {len(part) / 1e6:6.1f} MB  answer {1000 * np.median(spent):6.1f} ms", flush=True)


def _model(path: str, backbone: BackboneConfig) -> ModelConfig:
    return ModelConfig(
        dim=384 if backbone.pooling else 128,
        text=TextConfig(name="pretrained", backbone=backbone),
        fusion=FusionConfig(name="late"),
        tasks=(TASK,),
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("scores", "zero-shot", "speed"))
    parser.add_argument("models", nargs="+", help='bundles ("default": the one that ships), or a backbone')
    parser.add_argument("--data", type=Path)
    parser.add_argument("--precision", default="int8", choices=("int8", "fp32"))
    options = parser.parse_args()
    if options.what == "scores":
        scores(options.models, options.data, options.precision)
    elif options.what == "zero-shot":
        zero_shot(options.models[0], options.data)
    else:
        speed(options.models[0])


if __name__ == "__main__":
    main()
