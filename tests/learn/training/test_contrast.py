"""Towers in training: the objective against the losses, chunks against the whole, and a run that learns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from affetto.errors import ConfigError, DataError
from affetto.learn import losses
from affetto.learn.config import ContrastiveConfig, FusionConfig, StageConfig, TaskConfig
from affetto.learn.fusion.towers import Towers
from affetto.learn.models.build import build_recogniser
from affetto.learn.training.contrast import contrastive, forward_in_chunks, towers_of
from affetto.learn.training.loaders import BatchBuilder, BatchPlan
from affetto.learn.training.loop import fit
from affetto.learn.training.pairing import pair_by_label
from affetto.learn.training.run_folder import RunFolder
from affetto.records import Track

MODALITIES = ("speech", "text", "vision")


@pytest.fixture
def towers_model(model):
    task = TaskConfig("emotion", labels=("anger", "happiness", "sadness"), head="probe")
    return replace(model, fusion=FusionConfig(name="towers", trunk=True, dropout=0.0), tasks=(task,))


@pytest.fixture
def batch(towers_model, clips, cache):
    import numpy as np

    cache.add(clips)
    train = [replace(clip, scripted=clip.speech is not None) for clip in clips if clip.split == "train"]
    pairs = pair_by_label(train, np.random.default_rng(0), task=towers_model.tasks[0], size=12)
    return BatchBuilder(cache, towers_model.tasks)[BatchPlan(tuple(pairs))]


def built(config, seed=0):
    torch.manual_seed(seed)
    return build_recogniser(config)


def asked(recogniser, batch, modalities=MODALITIES, step=0, **settings):
    return contrastive(
        recogniser(batch.inputs), batch, ContrastiveConfig(**settings), towers_of(recogniser),
        task="emotion", modalities=modalities, step=step,
    )  # fmt: skip


def test_views_lie_on_the_unit_sphere_and_the_scale_within_its_bounds(towers_model, batch) -> None:
    recogniser = built(towers_model).eval()
    output = recogniser(batch.inputs)
    for name in MODALITIES:
        assert torch.allclose(output.embeddings[name].norm(dim=1), torch.ones(12), atol=1e-5)
    towers = towers_of(recogniser)
    assert towers.scale.item() == pytest.approx(1 / 0.07, rel=1e-4)
    for logit, bound in ((1e4, 100.0), (-1e4, 1.0)):
        towers.scale_logit.data.fill_(logit)
        assert towers.scale.item() == pytest.approx(bound)


@pytest.mark.parametrize("loss", ["symmetric", "alternating", "nt_xent", "sigmoid", "supervised", "distance"])
def test_each_loss_is_the_sum_over_pairs(towers_model, batch, loss) -> None:
    recogniser = built(towers_model).eval()
    towers, output = towers_of(recogniser), recogniser(batch.inputs)
    labels = batch.targets["emotion"].argmax(dim=1)
    same = labels[:, None] == labels[None]
    speech, text, vision = (output.embeddings[name] for name in MODALITIES)
    said = output.logits["emotion"]
    scale = towers.scale
    direct = {
        "symmetric": lambda a, b: losses.symmetric(a, b, scale, same),
        "alternating": lambda a, b: losses.info_nce(b, a, scale, same),
        "nt_xent": lambda a, b: losses.nt_xent(a, b, scale, same),
        "sigmoid": lambda a, b: losses.sigmoid_pairwise(a, b, scale, towers.bias, same),
    }
    if loss == "supervised":
        everything = torch.cat([speech, text, vision])
        expected = losses.supervised_contrastive(everything, labels.repeat(3), scale)
    elif loss == "distance":
        pairs = (("speech", "text"), ("speech", "vision"), ("text", "vision"))
        expected = sum(
            losses.distance_and_divergence(output.embeddings[s], output.embeddings[t], said[s], said[t], 1.0)
            for s, t in pairs
        )
    else:
        expected = sum(direct[loss](a, b) for a, b in ((speech, text), (speech, vision), (text, vision)))
    assert asked(recogniser, batch, step=1, loss=loss).item() == pytest.approx(expected.item(), rel=1e-5)


def test_positives_by_item_know_no_labels(towers_model, batch) -> None:
    recogniser = built(towers_model).eval()
    output = recogniser(batch.inputs)
    plain = losses.symmetric(
        output.embeddings["speech"], output.embeddings["text"], towers_of(recogniser).scale
    )
    found = asked(recogniser, batch, ("speech", "text"), positives="item")
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)


def test_absent_modalities_and_missing_labels_take_no_part(towers_model, batch) -> None:
    recogniser = built(towers_model).eval()
    there = torch.arange(12) < 9
    speech = batch.inputs["speech"]
    partial = replace(
        batch,
        inputs={**batch.inputs, "speech": Track(speech.values, speech.mask & there[:, None])},
        target_mask={"emotion": torch.arange(12) > 1},
    )
    output = recogniser(partial.inputs)
    labels = batch.targets["emotion"].argmax(dim=1)
    expected = losses.symmetric(
        output.embeddings["speech"][2:9],
        output.embeddings["text"][2:],
        towers_of(recogniser).scale,
        labels[2:9, None] == labels[None, 2:],
    )
    assert asked(recogniser, partial, ("speech", "text")).item() == pytest.approx(expected.item(), rel=1e-5)


def test_distillation_is_added_with_its_shares(towers_model, batch) -> None:
    recogniser = built(towers_model).eval()
    output, scale = recogniser(batch.inputs), towers_of(recogniser).scale
    speech, text, vision = (output.embeddings[name] for name in MODALITIES)
    taught = losses.distillation_loss(scale * speech @ vision.T, scale * text @ vision.T, temperature=1.0)
    expected = 0.5 * asked(recogniser, batch) + 2.0 * taught
    found = asked(recogniser, batch, contrast=0.5, distillation=2.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_text_the_picture_of_a_clip_teaches_where_both_are_there(towers_model, batch) -> None:
    recogniser = built(towers_model).eval()
    speech = batch.inputs["speech"]
    mute = Track(speech.values, speech.mask & (torch.arange(12) < 9)[:, None])
    batch = replace(batch, inputs={"speech": mute, "vision": batch.inputs["vision"]})
    output, scale = recogniser(batch.inputs), towers_of(recogniser).scale
    heard, seen = output.embeddings["speech"][:9], output.embeddings["vision"]
    taught = losses.distillation_loss(scale * heard @ seen.T, scale * seen[:9] @ seen.T, temperature=1.0)
    pair = ("speech", "vision")
    found = asked(recogniser, batch, pair, contrast=0.0, distillation=1.0)
    assert found.item() == pytest.approx(taught.item(), rel=1e-3)  # small beside what cancels


@pytest.mark.parametrize("chunk", [1, 5, 12])
def test_chunks_give_the_loss_and_gradients_of_the_whole(towers_model, batch, chunk) -> None:
    # In evaluation mode: batch normalisation sees chunks in training, and says so.
    whole, cut = built(towers_model).eval(), built(towers_model).eval()
    labels = batch.targets["emotion"].argmax(dim=1)
    values = []
    for recogniser, output in (
        (whole, whole(batch.inputs)),
        (cut, forward_in_chunks(cut, batch.inputs, chunk)),
    ):
        x = torch.cat([output.embeddings[name] for name in MODALITIES])
        loss = losses.supervised_contrastive(x, labels.repeat(3), towers_of(recogniser).scale)
        loss = loss + output.logits["emotion"]["vote"].square().mean()
        loss.backward()
        values.append(loss.item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    for (name, a), (_, b) in zip(whole.named_parameters(), cut.named_parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5), name


def test_chunks_meet_the_same_random_numbers_twice(towers_model, batch) -> None:
    noisy = replace(towers_model, fusion=FusionConfig(name="towers", dropout=0.5))
    recogniser = built(noisy).train()
    for module in recogniser.modules():
        if type(module).__name__ == "MaskedBatchNorm":
            module.eval()
    grads = []
    for _ in range(2):
        recogniser.zero_grad()
        torch.manual_seed(5)
        output = forward_in_chunks(recogniser, batch.inputs, 4)
        torch.manual_seed(99)  # what is drawn between the passes does not matter
        losses.info_nce(output.embeddings["speech"], output.embeddings["text"], 5.0).backward()
        grads.append([p.grad.clone() for p in recogniser.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
    torch.manual_seed(5)
    recogniser.zero_grad()
    parts = [recogniser({n: Track(t.values[i : i + 4], t.mask[i : i + 4]) for n, t in batch.inputs.items()})
             for i in range(0, 12, 4)]  # fmt: skip
    plain = [torch.cat([part.embeddings[name] for part in parts]) for name in ("speech", "text")]
    losses.info_nce(*plain, 5.0).backward()
    kept = [p.grad for p in recogniser.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-6) for a, b in zip(grads[0], kept, strict=True))


def test_what_has_no_weights_is_computed_once_for_each_chunk(towers_model, batch) -> None:
    recogniser = built(towers_model).train()
    speech = recogniser.encoders["speech"]
    calls = []
    for name, module in (("log-mel", speech.front_end.log_mel), ("convolutions", speech.stem)):
        module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    output = forward_in_chunks(recogniser, batch.inputs, 4)
    losses.info_nce(output.embeddings["speech"], output.embeddings["text"], 5.0).backward()
    assert (calls.count("log-mel"), calls.count("convolutions")) == (3, 6)
    assert "forward" not in vars(speech.front_end)  # it works again


def test_a_contrastive_stage_needs_towers(model) -> None:
    with pytest.raises(ConfigError, match="towers"):
        towers_of(build_recogniser(model))
    assert isinstance(towers_of(built(replace(model, fusion=FusionConfig(name="towers")))), Towers)


def test_a_run_brings_modalities_together(
    make_config, towers_model, clips, cache, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)
    stage = StageConfig(
        "towers", MODALITIES, epochs=4, batch_size=16, lr=1e-2, paired=True,
        contrastive=ContrastiveConfig(chunk=8, loss="sigmoid", invariance=0.2),
    )  # fmt: skip
    result = fit(make_config(stage, model=towers_model), clips, tmp_path, cache=cache)
    first, *_, last = (record["loss"] for record in result.history)
    assert last < 0.9 * first
    assert "emotion.vision.uar" in result.scores  # the probes answer for the task


@pytest.fixture
def pairs(clips):
    """Speech beside pictures of the same emotion, and no label."""
    train = [clip for clip in clips if clip.split == "train"]
    heard, seen = ([clip for clip in train if getattr(clip, name)] for name in ("speech", "vision"))
    return [replace(a, vision=b.vision, labels={}) for a, b in zip(heard, seen, strict=True)]


def stage_of_pairs(positives: str) -> StageConfig:
    return StageConfig(
        "pairs", ("speech", "vision"), epochs=4, batch_size=16, lr=1e-2,
        contrastive=ContrastiveConfig(positives=positives),
    )  # fmt: skip


def test_pairs_teach_without_a_label(make_config, towers_model, pairs, cache, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)
    result = fit(make_config(stage_of_pairs("item"), model=towers_model), pairs, tmp_path, cache=cache)
    first, *_, last = (record["loss"] for record in result.history)
    assert last < 0.9 * first


@pytest.mark.parametrize(
    ("positives", "together", "wanted"),
    [
        ("label", True, "no training clip has speech or vision and a label"),
        ("item", False, "no training clip has speech and vision together, or speech or vision and a label"),
    ],
)
def test_what_teaches_nothing_is_refused(
    make_config, towers_model, pairs, cache, tmp_path, positives, together, wanted
) -> None:
    given = pairs if together else [replace(clip, vision=None) for clip in pairs]
    with pytest.raises(DataError, match=wanted):
        fit(make_config(stage_of_pairs(positives), model=towers_model), given, tmp_path, cache=cache)
