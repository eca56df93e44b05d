"""What a pretrained speech model, of which nothing learns, tells of the emotions of people it has never heard.

The mean and the deviation over time of some of its hidden states, under logistic regression, on the folds and
corpora of benchmarks/speech_protocols.py, which prints the figures, calibration included:

    python benchmarks/frozen_speech.py --data DIR --backbone FOLDER --layers 2 3 -o runs/frozen
    python benchmarks/speech_protocols.py --data DIR -o runs/frozen --report

Every clip is heard once. What was found is kept every 200 clips: a command that was stopped goes on when it is
given again.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from speech_protocols import protocol, splits, store
from torch import Tensor, nn
from torch.nn import functional

from affetto.files import write_whole
from affetto.labels import EMOTIONS
from affetto.learn.config import BackboneConfig, ModelConfig, SpeechConfig
from affetto.learn.models.build import build_recogniser
from affetto.learn.training.media_cache import MediaCache, as_float
from affetto.records import Clip, Track

KEEP_EVERY = 200
SHRINKAGE = 0.1  # of squared weights; with 0.01 no mean moved by a point, in a trial
_LEAST_DEVIATION = 1e-3


class Frozen:
    """A pretrained speech model in a folder, asked for the hidden states of some layers, 1 the first.

    Raises ValueError for a layer that the model does not have.
    """

    def __init__(self, folder: str, layers: Sequence[int]) -> None:
        config = ModelConfig(speech=SpeechConfig("pretrained", backbone=BackboneConfig(folder)))
        self.encoder = build_recogniser(config).eval().encoders["speech"]
        self.found: dict[int, Tensor] = {}
        depth = len(self.encoder.backbone.layers)
        if not set(layers) <= set(range(1, depth + 1)):
            raise ValueError(f"layers {layers}: {folder} has {depth}, from 1 to {depth}")
        for layer in layers:
            self.encoder.backbone.layers[layer - 1].register_forward_hook(self._keep(layer))

    def _keep(self, layer: int) -> Callable[..., None]:
        def keep(module: nn.Module, given: object, states: Tensor | tuple[Tensor, ...]) -> None:
            self.found[layer] = states[0] if isinstance(states, tuple) else states

        return keep

    @torch.inference_mode()
    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Waveform [N] to the means, then the deviations, of all states: [2 W layers]."""
        values = torch.from_numpy(waveform)[None]
        mask = self.encoder(Track(values, torch.ones_like(values, dtype=torch.bool))).mask[0]
        states = torch.cat([found[0, mask] for found in self.found.values()], dim=1)
        return torch.cat([states.mean(dim=0), states.std(dim=0, correction=0)]).numpy()


def heard(frozen: Frozen, clips: Sequence[Clip], cache: MediaCache, kept: Path) -> np.ndarray:
    """What the model finds in the clips, [N 2W]; those that the file `kept` has are not heard again."""
    found = list(np.load(kept)) if kept.exists() else []
    for i, clip in enumerate(clips[len(found) :], start=len(found) + 1):
        found.append(frozen(as_float(cache.speech(clip))))
        if i % KEEP_EVERY == 0 or i == len(clips):
            buffer = io.BytesIO()
            np.save(buffer, np.stack(found))
            write_whole(kept, buffer.getvalue())
            print(f"{i} of {len(clips)} clips", flush=True)
    return np.stack(found)


def classify(features: np.ndarray, truth: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """Logits [N 7] of all clips by logistic regression on the `learnt` ones, every emotion counted alike."""
    mean, deviation = features[learnt].mean(axis=0), features[learnt].std(axis=0)
    x = torch.from_numpy((features - mean) / np.maximum(deviation, _LEAST_DEVIATION))
    known, wanted = x[learnt], torch.from_numpy(truth[learnt])
    count = torch.bincount(wanted, minlength=len(EMOTIONS))
    share = (len(wanted) / count.clamp(min=1))[wanted]
    share = share / share.mean()
    weight = torch.zeros(x.shape[1], len(EMOTIONS), requires_grad=True)
    bias = torch.zeros(len(EMOTIONS), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> Tensor:
        optimiser.zero_grad()
        each = functional.cross_entropy(known @ weight + bias, wanted, reduction="none")
        loss = (share * each).mean() + SHRINKAGE * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(cost)
    return (x @ weight + bias).detach().numpy()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="the folder that holds ravdess, emodb and nemo")
    parser.add_argument("--backbone", required=True, help="the folder of a pretrained speech model")
    parser.add_argument("--layers", nargs="+", type=int, required=True, help="1 is the first")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if any(options.output.glob("*/config.yaml")):
        parser.error(f"{options.output} holds trained runs, whose answers would be lost: give another -o")
    try:
        frozen = Frozen(options.backbone, options.layers)
    except ValueError as error:
        parser.error(str(error))
    config, clips = protocol([f"data.root={options.data}"])
    cache = MediaCache(config.model)
    cache.add(clips)
    options.output.mkdir(parents=True, exist_ok=True)
    kept = "-".join([Path(options.backbone).name, *map(str, options.layers)])
    features = heard(frozen, clips, cache, options.output / f"{kept}.npy")
    truth = np.array([EMOTIONS.index(str(clip.labels["emotion"])) for clip in clips])
    for name, divided in splits(clips).items():
        test = np.array([clip.split == "test" for clip in divided])
        folder = options.output / name
        folder.mkdir(exist_ok=True)
        logits = classify(features, truth, ~test)[test]
        store(folder, [clip for clip in divided if clip.split == "test"], {"clean": logits})


if __name__ == "__main__":
    main()
