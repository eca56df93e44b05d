"""The second, poorer pass: which part is taken, and what its disagreement and its guesses cost."""

from collections import Counter

import pytest
import torch
from torch.nn import functional

from affetto.errors import ConfigError
from affetto.learn.config import FusionConfig, ModelConfig, SpeechConfig, TaskConfig, TextConfig
from affetto.learn.models.build import build_recogniser, build_reconstructor
from affetto.learn.models.recogniser import Output
from affetto.learn.training.invariance import consistency, reconstruction, take_part
from affetto.records import Track

EMOTION = TaskConfig("emotion", labels=("a", "b"), weight=2.0)
LANGUAGE = TaskConfig("language", labels=("x", "y"), views=("text",))
WHO = TaskConfig("who", "identity", ("p", "q"))


def tracks_of(present):
    """Tracks of two steps from rows of 0 and 1 per modality."""
    return {
        name: Track(torch.zeros(len(present), 2, 3), torch.tensor(column).bool()[:, None].expand(-1, 2))
        for name, column in zip(("speech", "text", "vision"), zip(*present, strict=True), strict=True)
    }


def test_a_proper_part_is_kept_where_there_are_several():
    torch.manual_seed(0)
    rows = [(1, 1, 1)] * 600 + [(1, 1, 0)] * 300 + [(0, 1, 0), (0, 0, 0)]
    before = tracks_of(rows)
    after = take_part(before)
    kept = torch.stack([track.mask.all(dim=1) for track in after.values()], dim=1)
    there = torch.tensor(rows).bool()
    assert not (kept & ~there).any()
    assert (kept.sum(dim=1)[:900] >= 1).all()
    assert (kept.sum(dim=1)[:900] < there.sum(dim=1)[:900]).all()
    assert torch.equal(kept[900:], there[900:])
    found = Counter(map(tuple, kept[:600].tolist()))
    assert len(found) == 6
    assert min(found.values()) > 50


def output(votes, present, language=None, embeddings=None):
    logits = {"emotion": {"speech": torch.zeros(2, 2), "text": torch.zeros(2, 2), "vote": votes}}
    logits["language"] = {
        "text": torch.zeros(2, 2),
        "vote": torch.zeros(2, 2) if language is None else language,
    }
    logits["who"] = {"vote": torch.randn(2, 2)}
    return Output(logits, {}, embeddings or {}, present)


WHOLE = {"speech": torch.tensor([True, True]), "text": torch.tensor([True, True])}


def test_consistency_is_the_symmetric_divergence_of_the_rows_that_lost_something():
    votes = torch.tensor([[1.0, -1.0], [0.3, 0.1]], requires_grad=True)
    poorer = torch.tensor([[0.0, 0.5], [5.0, 0.0]], requires_grad=True)
    part = {"speech": torch.tensor([True, True]), "text": torch.tensor([False, True])}
    whole = output(votes, WHOLE, language=torch.randn(2, 2))
    loss = consistency(whole, output(poorer, part), (EMOTION, LANGUAGE, WHO))
    p, q = votes[0].softmax(0), poorer[0].softmax(0)
    expected = 2.0 * 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    torch.testing.assert_close(loss, expected)  # language has nothing left to read, who is private
    loss.backward()
    assert votes.grad[0].abs().sum() > 0
    assert poorer.grad[0].abs().sum() > 0
    assert votes.grad[1].abs().sum() == poorer.grad[1].abs().sum() == 0


def test_a_batch_that_lost_nothing_costs_nothing():
    votes = torch.randn(2, 2, requires_grad=True)
    loss = consistency(output(votes, WHOLE), output(torch.randn(2, 2), WHOLE), (EMOTION,))
    loss.backward()
    assert loss.item() == 0.0
    assert (votes.grad == 0).all()


def test_reconstruction_is_the_distance_of_guesses_from_what_was_lost():
    torch.manual_seed(2)
    model = build_recogniser(config("concat"))
    guesser = build_reconstructor(config("concat"), model, ("speech", "text"))
    vectors = {name: torch.randn(2, 8, requires_grad=True) for name in ("fused", "speech", "text")}
    poorer = {"fused": torch.randn(2, 8, requires_grad=True)}
    part = {"speech": torch.tensor([True, True]), "text": torch.tensor([False, True])}
    none = torch.zeros(2, 2)
    loss = reconstruction(
        output(none, WHOLE, embeddings=vectors), output(none, part, embeddings=poorer), guesser
    )
    guess = guesser.decoders["text"](poorer["fused"][0])
    torch.testing.assert_close(loss, 1.0 - functional.cosine_similarity(guess, vectors["text"][0], dim=0))
    loss.backward()
    assert poorer["fused"].grad[0].abs().sum() > 0
    assert vectors["text"].grad is None  # the truth must not move to be guessed


def test_without_a_fused_view_nothing_can_be_reconstructed():
    with pytest.raises(ConfigError, match="late has no fused view"):
        build_reconstructor(config("late"), build_recogniser(config("late")), ("speech", "text"))


def config(fusion):
    return ModelConfig(
        dim=8,
        speech=SpeechConfig(n_mels=16, channels=(4, 4), width=8, layers=1),
        text=TextConfig("words", vocab_size=30, width=8),
        fusion=FusionConfig(fusion),
        tasks=(EMOTION,),
    )
