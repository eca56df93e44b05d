"""Which face said this? A recording looked for among silent films of the same speaker, and a film among recordings.

    python benchmarks/which_face.py --data DIR --embedding embedding_model.onnx

The 120 clips of GRID, one speaker before a camera: 24 of them, drawn by the seed, are never trained, and what is
heard there is looked for among the 24 films. Two towers in one space: speech through the published embedding of the
package openwakeword 0.4.0, frozen, and films by a small residual net that sees the lower half of the face 12.5 times
a second, each time beside the moments before and after it. They learn from stretches of 0.4 s, the same in both, four
of every clip in a batch, so that only what the lips do tells them apart (Chung and Zisserman 2016, "Out of Time").
How well a film goes with a recording is the mean over its moments of the cosine of what is heard and seen then.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from parts.embedded import EMBEDDED, Embedded
from parts.fitting import fit
from torch import Tensor
from torch.nn import functional

from affetto.evaluation.retrieval import recall_at
from affetto.learn.config import ContrastiveConfig, FeaturesConfig, FusionConfig, ModelConfig, VisionConfig
from affetto.learn.models.build import build_recogniser
from affetto.learn.models.recogniser import Recogniser
from affetto.learn.training.contrast import contrastive, towers_of
from affetto.media import decode_audio, iter_frames
from affetto.records import Batch, Track

EVERY = 0.08  # seconds from a picture to the next, as the frames of speech
SIZE = 32
NEW, CLIPS, EACH, WINDOW = 24, 16, 4, 5  # clips never trained; of a batch; stretches of each; their moments
STEPS, SEEDS = 500, 5


@dataclass(frozen=True)
class Films:
    """What is heard [N T 96] and what is seen [N T 3 S S] of each clip, moment by moment."""

    heard: Tensor
    seen: Tensor


def load(folder: Path, weights: Path) -> Films:
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    voices = Embedded.of([decode_audio(folder / row["path"]) for row in rows], weights, versions=1)
    lips = [_lips(folder / row["video"]) for row in rows]
    moments = min(min(len(x) for x in lips), min(len(versions[0]) for versions in voices.versions))
    return Films(
        torch.stack([versions[0][:moments] for versions in voices.versions]),
        torch.stack([x[:moments] for x in lips]),
    )


def _lips(path: Path) -> Tensor:
    """The lower half of the face, [T 3 S S]: brightness of the moment before, of this one, and of the next."""
    pictures = []
    for _, picture in iter_frames(path, every=EVERY):
        height, width = picture.shape[:2]
        mouth = picture[height // 2 :, width // 5 : width - width // 5].mean(axis=2)
        plane = torch.from_numpy(mouth.astype(np.float32) / 255)[None, None]
        pictures.append(functional.interpolate(plane, size=(SIZE, SIZE), mode="area")[0, 0])
    x = torch.stack([pictures[0], *pictures, pictures[-1]])
    return torch.stack([x[:-2], x[1:-1], x[2:]], dim=1)


def build() -> Recogniser:
    return build_recogniser(
        ModelConfig(
            dim=96,
            features={"speech": FeaturesConfig(EMBEDDED, "transformer", width=96, dropout=0.1)},
            vision=VisionConfig(size=SIZE, grey=False, channels=(16, 32, 64), blocks=1),
            fusion=FusionConfig(name="towers"),
        )
    )


def train(films: Films, known: Tensor) -> Recogniser:
    recogniser = build()
    towers, config = towers_of(recogniser), ContrastiveConfig(positives="item")
    moments = films.heard.shape[1]

    def loss_of(step: int) -> Tensor:
        clips = known[torch.randperm(len(known))[:CLIPS]].repeat(EACH)
        starts = torch.randint(moments - WINDOW + 1, clips.shape)
        index = starts[:, None] + torch.arange(WINDOW)
        seen = _varied(films.seen[clips[:, None], index])
        inputs = {"speech": _track(films.heard[clips[:, None], index]), "vision": _track(seen)}
        names = tuple(inputs)
        output = recogniser(inputs)
        return contrastive(
            output, Batch(inputs, {}, {}), config, towers, task="", modalities=names, step=step
        )

    fit(recogniser, loss_of, STEPS, rate=2e-3)
    return recogniser.eval()


def _varied(x: Tensor) -> Tensor:
    """Stretches [B T 3 S S], each moved a little and half of them mirrored, as a whole."""
    rows, moments = x.shape[:2]
    shift, mirror = 0.15 * (2 * torch.rand(rows, 2) - 1), torch.randint(2, (rows,)) * 2.0 - 1
    place = torch.zeros(rows, 2, 3)
    place[:, 0, 0], place[:, 1, 1], place[:, :, 2] = mirror, 1.0, shift
    grid = functional.affine_grid(place, [rows, 1, SIZE, SIZE], align_corners=False)
    moved = functional.grid_sample(x.flatten(1, 2), grid, align_corners=False, padding_mode="border")
    return moved.view(rows, moments, 3, SIZE, SIZE)


def _track(x: Tensor) -> Track:
    return Track(x, torch.ones(x.shape[:2], dtype=torch.bool))


@torch.inference_mode()
def figures(films: Films, recogniser: Recogniser, new: Tensor) -> tuple[float, float]:
    """R@1 of films for what is heard, and of recordings for what is seen."""
    heard = _moments(recogniser, "speech", films.heard[new])
    seen = _moments(recogniser, "vision", films.seen[new])
    scores, own = torch.einsum("itd,jtd->ij", heard, seen).numpy(), np.eye(len(new), dtype=bool)
    return recall_at(scores, own, 1), recall_at(scores.T, own, 1)


def _moments(recogniser: Recogniser, name: str, x: Tensor) -> Tensor:
    """Every stretch of clips [N T ...], embedded: [N T' D]."""
    index = torch.arange(x.shape[1] - WINDOW + 1)[:, None] + torch.arange(WINDOW)
    return torch.stack([recogniser({name: _track(clip[index])}).embeddings[name] for clip in x])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedding", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    films = load(arguments.data / "grid_av", arguments.embedding)
    found = []
    for seed in range(arguments.seeds):
        torch.manual_seed(seed)
        order = torch.randperm(len(films.heard))
        found.append(figures(films, train(films, order[NEW:]), order[:NEW]))
        print(
            f"seed {seed}: film for a voice {found[-1][0]:.3f}, voice for a film {found[-1][1]:.3f}",
            flush=True,
        )
    means = np.mean(found, axis=0)
    print(
        f"R@1 among {NEW}, mean of {len(found)}: film {means[0]:.3f}, voice {means[1]:.3f}; chance {1 / NEW:.3f}"
    )


if __name__ == "__main__":
    main()
