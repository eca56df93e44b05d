"""One rank of a run on the corpus in memory: `python ranked_run.py FOLDER DEVICES`. Says the loss of every step.

With DEVICES 0 it is the one process that the ranks are compared with.
"""

import json
import os
import sys
from pathlib import Path

import torch

from affetto.learn.config import (
    AugmentConfig,
    ContrastiveConfig,
    DataConfig,
    ExperimentConfig,
    FusionConfig,
    ModelConfig,
    SpecAugmentConfig,
    SpeechConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
    TrainConfig,
    VisionConfig,
)
from affetto.learn.training.display import Display
from affetto.learn.training.loop import fit
from affetto.learn.training.media_cache import MediaCache
from affetto.learn.training.run_folder import RunFolder

sys.path.append(str(Path(__file__).parent))
import conftest

ALL = ("speech", "text", "vision")
TASKS = (
    TaskConfig("emotion", labels=conftest.EMOTIONS, effective_beta=0.9),
    TaskConfig("speaker", "identity", weight=0.5),
)
# Shares of 4 and 3, 5 and 4, 2 and 1, 1 and 0 rows; batches in which a rank has nothing of a modality.
STAGES = (
    StageConfig(
        "tasks", ALL, steps=6, batch_size=7, lr=5e-3, ema=0.9, task_weights="gradnorm", validate_every=3
    ),
    StageConfig("space", ALL, steps=3, batch_size=9, lr=5e-3, contrastive=ContrastiveConfig()),
    StageConfig(
        "sound", ("speech",), steps=6, batch_size=3, mixup=0.2, accumulate=2, patience=3, validate_every=2
    ),
    StageConfig("few", ("speech",), steps=2, batch_size=1, lr=5e-3),
)


def experiment(devices: int) -> ExperimentConfig:
    """A model without dropout and the like: noise is drawn for the rows of each rank by itself."""
    still = SpecAugmentConfig(frequency_masks=0, time_masks=0, warp=0.0)
    model = ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(8, 8), width=8, layers=1, dropout=0.0, specaugment=still),
        text=TextConfig(name="words", vocab_size=300, max_tokens=8, width=8, dropout=0.0),
        vision=VisionConfig(size=32, channels=(4,), blocks=1, dropout=0.0),
        fusion=FusionConfig("towers", dropout=0.0),
        tasks=TASKS,
    )
    data = DataConfig(augment=AugmentConfig(crop_seconds=(0.3, 0.5)), allow_leaks=("sentence_leak",))
    return ExperimentConfig(
        "ranks", seed=3, data=data, model=model, train=TrainConfig(STAGES, devices=devices)
    )


class Log(Display):
    """Says the loss of every step."""

    def step(self, step: int, loss: float) -> None:
        if os.environ.get("RANK", "0") == "0":
            print(json.dumps(loss), flush=True)


def main() -> None:
    folder, devices = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    RunFolder.write_curves = lambda *_: None
    config, clips = experiment(devices), conftest.make_clips((5, 3))
    tokenizer = conftest.train_tokenizer([clip.text for clip in clips if clip.text], 300)
    cache = MediaCache(
        config.model, tokenizer, decode_speech=conftest.decode_speech, decode_face=conftest.decode_face
    )
    fit(config, clips, folder, cache=cache, display=Log(), resume=True, checkpoint_every=0.0)


if __name__ == "__main__":
    main()
