"""One rank of a run on the corpus in memory: `python ranked_run.py FOLDER DEVICES STAGE`. Losses on stdout.

The same file run with DEVICES 0 is the one process that the ranks are compared with.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import conftest
import torch

from affetto.learn.config import AugmentConfig, ContrastiveConfig, DataConfig, ExperimentConfig, FusionConfig
from affetto.learn.config import ModelConfig, SpecAugmentConfig, SpeechConfig, StageConfig, TaskConfig, TextConfig, TrainConfig
from affetto.learn.config import VisionConfig
from affetto.learn.training.display import Display
from affetto.learn.training.loop import fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.run_folder import RunFolder

STILL = SpecAugmentConfig(frequency_masks=0, time_masks=0, warp=0.0)

# 31 clips a modality in batches of 7 end in one of 3; 6 clips leave one rank of two without any in a batch of 1.
ALL = ("speech", "text", "vision")
TASKS = (
    TaskConfig("emotion", labels=conftest.EMOTIONS, effective_beta=0.9),
    TaskConfig("speaker", "identity", weight=0.5),
)
STAGES = {
    "tasks": StageConfig("tasks", ALL, epochs=1, batch_size=7, lr=5e-3, mixup=0.2, ema=0.9, task_weights="gradnorm"),
    "uneven": StageConfig("uneven", ("speech",), steps=6, batch_size=3, lr=5e-3, accumulate=2, patience=3, validate_every=2),
    "towers": StageConfig("towers", ALL, steps=5, batch_size=9, lr=5e-3, contrastive=ContrastiveConfig(positives="label")),
    "alone": StageConfig("alone", ("speech",), steps=3, batch_size=1, lr=5e-3),
}


def experiment(name: str, devices: int) -> ExperimentConfig:
    """A model without dropout, so that nothing is drawn that rows of a batch would have to share."""
    model = ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(8, 8), width=8, layers=1, dropout=0.0, specaugment=STILL),
        text=TextConfig(name="words", vocab_size=300, max_tokens=8, width=8, dropout=0.0),
        vision=VisionConfig(size=32, channels=(4,), blocks=1, dropout=0.0),
        fusion=FusionConfig("towers", dropout=0.0) if name == "towers" else FusionConfig(tokens=1, layers=1, heads=2, dropout=0.0),
        tasks=TASKS,
    )  # fmt: skip
    data = DataConfig(augment=AugmentConfig(crop_seconds=(0.3, 0.5)), allow_leaks=("sentence_leak",))
    return ExperimentConfig("ranks", seed=3, data=data, model=model, train=TrainConfig((STAGES[name],), devices=devices))


class Log(Display):
    """Prints the loss of every step."""

    def step(self, step: int, loss: float) -> None:
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(loss), flush=True)


def main() -> None:
    folder, devices, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(1)
    RunFolder.write_curves = lambda *_: None
    config = experiment(name, devices)
    clips = conftest.make_clips()
    tokenizer = conftest.train_tokenizer([clip.text for clip in clips if clip.text], 300)
    cache = MediaCache(config.model, tokenizer, decode_speech=conftest.decode_speech, decode_face=conftest.decode_face)
    every = float(os.environ.get("EVERY", "60"))
    fit(config, clips, folder, cache=cache, display=Log(), resume=True, checkpoint_every=every)


if __name__ == "__main__":
    main()
