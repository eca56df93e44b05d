"""Mixup of media and of encoded Tracks: what comes out is solved for its shares."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from affetto.learn.training.mixing import mix_tracks, mixup
from affetto.records import Batch, Track


def speech_batch(rows=8):
    torch.manual_seed(0)
    mask = torch.ones(rows, 20, dtype=torch.bool)
    mask[0, 10:] = False
    return Batch(
        inputs={"speech": Track(torch.randn(rows, 20) * mask, mask)},
        targets={"emotion": functional.one_hot(torch.arange(rows) % 2, 2).float()},
        target_mask={"emotion": torch.arange(rows) < rows - 2},
        ids=tuple(map(str, range(rows))),
    )


def test_mixup_mixes_media_and_targets_by_one_share():
    batch = speech_batch()
    torch.manual_seed(3)
    mixed = mixup(batch, 0.4)
    values, targets = batch.inputs["speech"].values, batch.targets["emotion"]
    for row in range(8):
        share, other = solve(row, (mixed.inputs["speech"].values[row], values))
        expected = share * targets[row] + (1 - share) * targets[other]
        torch.testing.assert_close(mixed.targets["emotion"][row], expected, atol=1e-4, rtol=0)
        mask = batch.inputs["speech"].mask
        union = mask[row] | mask[other] if other != row else mask[row]
        assert torch.equal(mixed.inputs["speech"].mask[row], union)
    assert not torch.equal(mixed.inputs["speech"].values, values)


def solve(row, *pairs):
    """The shares of `row` in what was mixed, for (mixed, values) each, and the other row that all are made of.

    Solved together: where a share is nearly 1, that mixture alone does not say which the other row was.
    """
    best = (float("inf"), [], row)
    for other in range(len(pairs[0][1])):
        shares, error = [], 0.0
        for mixed, values in pairs:
            difference = values[row] - values[other]
            share = (mixed - values[other]) @ difference / (difference @ difference) if other != row else 1.0
            error += float((share * values[row] + (1 - share) * values[other] - mixed).norm())
            shares.append(float(share))
        best = min(best, (error, shares, other))
    assert best[0] < 1e-4
    return *best[1], best[2]


def test_mixup_leaves_rows_of_unlike_labels_and_text_alone():
    batch = speech_batch()
    for seed in range(5):
        torch.manual_seed(seed)
        mixed = mixup(batch, 1.0)
        assert ((mixed.targets["emotion"].sum(dim=1) - 1).abs() < 1e-6).all()
    text = replace(batch, inputs={**batch.inputs, "text": Track(torch.zeros(8, 2), torch.ones(8, 2).bool())})
    assert mixup(text, 1.0) is text
    assert mixup(batch, 0.0) is batch


def encoded(rows=6):
    """Speech and text Tracks [B T 2]; the last row has no text, and row 0 is longer in speech."""
    torch.manual_seed(1)
    speech, text = torch.ones(rows, 4, dtype=torch.bool), torch.ones(rows, 3, dtype=torch.bool)
    speech[1:, 3], text[-1] = False, False
    times = torch.arange(3.0).repeat(rows, 1) + torch.arange(rows)[:, None]
    return {
        "speech": Track(torch.randn(rows, 4, 2), speech),
        "text": Track(torch.randn(rows, 3, 2), text, times),
    }


def labelled(rows=6):
    targets = {"emotion": torch.eye(rows), "valence": torch.arange(float(rows))}
    return Batch({}, targets, {name: torch.ones(rows, dtype=torch.bool) for name in targets})


@pytest.mark.parametrize("seed", range(4))
def test_tracks_are_mixed_by_a_share_per_modality_and_targets_by_their_mean(seed):
    tracks, batch = encoded(), labelled()
    torch.manual_seed(seed)
    mixed, targets = mix_tracks(tracks, batch, 0.5)
    for row in range(5):
        pairs = [(mixed[name].values[row].flatten(), tracks[name].values.flatten(1)[:5]) for name in mixed]
        speech, text, other = solve(row, *pairs)
        share = (speech + text) / 2
        expected = share * torch.eye(6)[row] + (1 - share) * torch.eye(6)[other]
        torch.testing.assert_close(targets["emotion"][row], expected, atol=1e-4, rtol=0)
        assert float(targets["valence"][row]) == pytest.approx(share * row + (1 - share) * other, abs=1e-4)
        mask = tracks["speech"].mask
        union = mask[row] | mask[other] if share < 1.0 - 1e-6 else mask[row]
        assert torch.equal(mixed["speech"].mask[row], union)
    assert torch.equal(mixed["text"].times[:5], tracks["text"].times[:5])


def test_rows_of_other_modalities_are_not_mixed():
    tracks, batch = encoded(), labelled()
    mixed, targets = mix_tracks(tracks, batch, 1.0)
    assert torch.equal(mixed["speech"].values[-1], tracks["speech"].values[-1])
    assert not mixed["text"].mask[-1].any()
    assert torch.equal(targets["emotion"][-1], torch.eye(6)[-1])


def test_alpha_zero_mixes_nothing():
    tracks, batch = encoded(), labelled()
    assert mix_tracks(tracks, batch, 0.0) == (tracks, batch.targets)
