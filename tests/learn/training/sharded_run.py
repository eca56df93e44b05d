"""One of two ranks that share out their backbones: `python sharded_run.py FOLDER`.

In FOLDER, by runs: words-2 and ears-2; words-1 and ears-1 are those of one process, and "stopped" is words-2,
stopped in its second stage and gone on. What a rank held after every step stands in rank-RANK.json.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from affetto.errors import ConfigError
from affetto.learn import ranks
from affetto.learn.config import (
    AugmentConfig,
    BackboneConfig,
    CorpusConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    to_yaml,
)
from affetto.learn.models.build import backbones
from affetto.learn.training import loop
from affetto.learn.training.corpora import load_clips
from affetto.learn.training.fsdp import own
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.processes import joined
from affetto.learn.training.run_folder import RunFolder
from affetto.learn.training.stage import Bookkeeping

sys.path.append(str(Path(__file__).parents[2]))
import conftest
from backbones import write_backbone

WHOLE = StageConfig("whole", ("text",), steps=4, batch_size=7, lr=1e-2, validate_every=1)
WORDS = (
    replace(WHOLE, clip_norm=0.2, ema=0.8, layer_decay=0.7),
    replace(WHOLE, name="best", steps=6, accumulate=2, patience=9),
)
EARS = (replace(WHOLE, modalities=("speech",), steps=2, batch_size=3),)
STOP = 7  # steps, with those of the first stage: in the second, in the middle of an epoch


def write_all(folder: Path) -> None:
    """Backbones without dropout, which ranks draw by themselves, and a manifest of texts."""
    for family in ("bert", "wavlm"):
        path = write_backbone(folder / family, family) / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({k: 0.0 if "dropout" in k else v for k, v in config.items()}))
    rows = [("id", "text", "emotion", "split")]
    for i in range(27):
        emotion, word = conftest.EMOTIONS[i % 3], ("angry", "happy", "sad")[i % 3]
        text = f"i am {'so ' * (i % 4)}{word} {'today' if i % 5 else 'not'}"
        rows.append((str(i), text, emotion, "validation" if i >= 20 else "train"))
    with open(folder / "texts.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "words.yaml").write_text(to_yaml(words(folder, 2)))


def words(folder: Path, devices: int, stages: Sequence[StageConfig] = WORDS) -> ExperimentConfig:
    """A text backbone that learns as a whole: clipped, averaged, with rates by layer, accumulated, the best kept."""
    backbone = BackboneConfig(str(folder / "bert"), trained_layers=None)
    text = TextConfig(name="pretrained", max_tokens=8, dropout=0.0, backbone=backbone)
    return _experiment(folder, ModelConfig(dim=16, text=text), tuple(stages), devices)


def ears(folder: Path, devices: int) -> ExperimentConfig:
    """A speech backbone with an adapter as a parametrisation of weights that are read."""
    backbone = BackboneConfig(str(folder / "wavlm"), lora=LoraConfig(rank=2))
    speech = SpeechConfig(name="pretrained", dropout=0.0, backbone=backbone)
    return _experiment(folder, ModelConfig(dim=8, speech=speech), EARS, devices)


def _experiment(
    folder: Path, model: ModelConfig, stages: tuple[StageConfig, ...], devices: int
) -> ExperimentConfig:
    model = replace(
        model,
        fusion=FusionConfig("late", dropout=0.0),
        tasks=(TaskConfig("emotion", labels=conftest.EMOTIONS),),
    )
    data = DataConfig(
        str(folder),
        (CorpusConfig("manifest", "texts.csv"),),
        augment=AugmentConfig(crop_seconds=(0.3, 0.5), word_dropout=0.0),
        allow_leaks=("sentence_leak",),
    )
    sharding = "full" if devices else "none"
    train = TrainConfig(stages, devices=devices, sharding=sharding)
    return ExperimentConfig("shares", seed=3, data=data, model=model, train=train)


def fit_words(
    folder: Path, devices: int, run: str, *, resume: bool = False, stages: Sequence[StageConfig] = WORDS
) -> loop.FitResult:
    config = words(folder, devices, stages)
    return loop.fit(config, load_clips(config.data, config.seed), folder / run, resume=resume)


def fit_ears(folder: Path, devices: int, run: str) -> loop.FitResult:
    config, clips = ears(folder, devices), conftest.make_clips((3, 2))
    cache = MediaCache(config.model, decode_speech=conftest.decode_speech, decode_face=conftest.decode_face)
    return loop.fit(config, clips, folder / run, cache=cache)


def alone(folder: Path) -> None:
    """The same by one process."""
    place = {name: os.environ.pop(name) for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE")}
    fit_words(folder, 0, "words-1")
    fit_ears(folder, 0, "ears-1")
    os.environ.update(place)


class Watch:
    """After every step: what this rank holds of the backbones; and at one of them, SIGTERM to rank 0."""

    def __init__(self) -> None:
        self.held: list[dict[str, int]] = []
        self.stopped, self.refused = 0, ""
        self._step = Bookkeeping.on_train_batch_end

    def __call__(self, books, trainer, module, *rest) -> None:
        weights = [x for part in backbones(module.recogniser).values() for x in part.parameters()]
        moments = [m for x in weights for m in trainer.optimizers[0].state.get(x, {}).values() if m.ndim]
        self.held.append(
            {
                "of": sum(x.numel() for x in weights),
                "weights": sum(own(x).numel() for x in weights),
                "moments_of": sum(m.numel() for m in moments),
                "moments": sum(own(m).numel() for m in moments),
            }
        )
        if len(self.held) == STOP and ranks.rank() == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        self._step(books, trainer, module, *rest)


def main() -> None:
    folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
    torch.set_num_threads(1)
    RunFolder.write_curves = lambda *_: None
    if rank == 0:
        write_all(folder)
        alone(folder)
    with joined(2):
        loop.joined = lambda _: nullcontext()  # leaving and joining again at one port would be a race
        fit_words(folder, 2, "words-2")
        watch = Watch()
        Bookkeeping.on_train_batch_end = lambda *given: watch(*given)
        try:
            fit_words(folder, 2, "stopped")
        except KeyboardInterrupt:
            watch.stopped = len(watch.held)
        fit_words(folder, 2, "stopped", resume=True)
        try:
            fit_words(folder, 2, "refused", stages=(replace(WHOLE, freeze=("heads", "votes", "fusion")),))
        except ConfigError as error:
            watch.refused = str(error)
        result = fit_ears(folder, 2, "ears-2")
    kinds = sorted({type(x).__name__ for x in result.recogniser.parameters()})
    found = {"stopped": watch.stopped, "refused": watch.refused, "held": watch.held, "after": kinds}
    (folder / f"rank-{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
