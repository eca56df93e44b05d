from dataclasses import replace

import numpy as np
import pytest
import torch

from affetto.learn.config import TaskConfig
from affetto.learn.models.build import build_recogniser
from affetto.learn.training.loaders import BatchBuilder, BatchPlan
from affetto.learn.training.pairing import pair_by_label
from affetto.learn.training.validation import (
    Logits,
    decisive_score,
    predict_logits,
    scores,
    weigh_votes,
    write_logits,
)
from affetto.records import Clip

EMOTION = TaskConfig("emotion", labels=("a", "b"))
TOPICS = TaskConfig("topics", "multi-label", ("x", "y"))
VALENCE = TaskConfig("valence", "dimension")


@pytest.fixture(scope="module")
def recogniser(model):
    torch.manual_seed(0)
    return build_recogniser(model)


def test_logits_come_in_the_order_of_the_clips_whatever_the_batches(recogniser, clips, cache, model):
    cache.add(clips)
    pairs = pair_by_label(clips, np.random.default_rng(0), task=model.tasks[0], size=7)
    mixed = [*clips[:9], *pairs, *clips[9:13]]
    found = predict_logits(recogniser, mixed, cache, batch_size=5)
    recogniser.eval()
    for i, clip in enumerate(mixed):
        with torch.inference_mode():
            alone = recogniser(BatchBuilder(cache, ())[BatchPlan((clip,))].inputs)
        for view, values in alone.logits["emotion"].items():
            if found.present[view][i]:
                np.testing.assert_allclose(found.logits["emotion"][view][i], values[0], atol=1e-5)
        assert {m for m in model.modalities if found.present[m][i]} == set(clip.modalities())
    assert found.ids == tuple(clip.id for clip in mixed)
    assert found.weights["emotion"].shape == (len(mixed), 4)


def test_votes_that_weigh_are_told_what_their_views_scored_above_chance(recogniser, model):
    assert not weigh_votes(recogniser, {}, model.tasks)
    sizes = replace(model, fusion=replace(model.fusion, name="late", vote="validated"))
    late = build_recogniser(sizes)
    found = {"emotion.speech.uar": 0.5, "emotion.speech.wa": 0.9, "emotion.text.uar": 0.3}
    assert weigh_votes(late, found, model.tasks)
    assert late.votes["emotion"].scores.tolist() == pytest.approx([0.5 - 1 / 3, 1e-6, 1e-6])


def test_predicting_leaves_modes_and_gradients_alone(recogniser, clips, cache):
    cache.add(clips)
    recogniser.train()
    recogniser.encoders["speech"].eval()
    before = {name: module.training for name, module in recogniser.named_modules()}
    state = {name: value.clone() for name, value in recogniser.state_dict().items()}
    predict_logits(recogniser, clips[:6], cache)
    assert {name: module.training for name, module in recogniser.named_modules()} == before
    assert all(torch.equal(value, state[name]) for name, value in recogniser.state_dict().items())
    assert torch.is_grad_enabled()


def test_scores_count_what_the_view_sees_and_the_clip_carries():
    clips = [Clip(str(i), labels={"emotion": label}) for i, label in enumerate("aabb")]
    clips += [Clip("4"), Clip("5", labels={"emotion": ("a", "b")})]
    said = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [9, 0], [9, 0]], np.float32)
    logits = Logits(
        ids=tuple("012345"),
        logits={"emotion": {"speech": said, "vote": said}},
        present={"speech": np.array([1, 1, 1, 0, 1, 1], bool), "vote": np.ones(6, bool)},
        weights={},
    )
    found = scores(logits, clips, (EMOTION,))
    assert found["emotion.speech.uar"] == pytest.approx((0.5 + 1.0) / 2)
    assert found["emotion.speech.wa"] == pytest.approx(2 / 3)
    assert found["emotion.vote.uar"] == pytest.approx(0.5)


def test_scores_of_other_kinds():
    clips = [
        Clip("0", labels={"topics": ("x",), "valence": 1.0}),
        Clip("1", labels={"topics": ("y",), "valence": 2.0}),
    ]
    logits = Logits(
        ids=("0", "1"),
        logits={
            "topics": {"text": np.array([[2, -1], [1, 1]], np.float32)},
            "valence": {"text": np.array([[1.0], [2.0]], np.float32)},
        },
        present={"text": np.ones(2, bool)},
        weights={},
    )
    found = scores(logits, clips, (TOPICS, VALENCE))
    assert found["topics.text.macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["valence.text.ccc"] == pytest.approx(1.0)


def test_no_clip_no_score():
    logits = Logits(
        ("0",), {"emotion": {"vote": np.zeros((1, 2), np.float32)}}, {"vote": np.ones(1, bool)}, {}
    )
    assert scores(logits, [Clip("0")], (EMOTION,)) == {}
    assert decisive_score({}, (EMOTION,), ["vote"]) is None


def test_the_decisive_score_is_the_votes_where_it_is_trained():
    values = {"emotion.vote.uar": 0.5, "emotion.speech.uar": 0.9, "topics.vote.macro_f1": 0.3}
    assert decisive_score(values, (EMOTION, TOPICS), ["speech", "vote"]) == pytest.approx(0.4)
    assert decisive_score(values, (EMOTION, TOPICS), ["speech"]) == pytest.approx(0.9)


def test_written_logits_can_be_read_without_pickle(recogniser, clips, cache, model, tmp_path):
    cache.add(clips)
    write_logits(tmp_path / "x.npz", predict_logits(recogniser, clips[:4], cache), clips[:4], model.tasks)
    with np.load(tmp_path / "x.npz", allow_pickle=False) as stored:
        assert stored["target.emotion"].shape == (4, 3)
        assert stored["logits.emotion.speech"].shape == (4, 3)
        assert stored["weights.emotion"].shape == (4, 4)


SPEAKER = TaskConfig("speaker", "identity", ("x/a", "x/b"))


def test_people_are_told_apart_by_embeddings_within_a_corpus():
    clips = [Clip(str(i), speaker=who, corpus="x") for i, who in enumerate("ccdd")] + [Clip("4")]
    clips.append(Clip("5", speaker="c", corpus="y"))  # another person, who would be easy to tell
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0], [1, 0]], np.float32)
    present = {"speech": np.ones(6, bool), "fused": np.ones(6, bool), "vote": np.ones(6, bool)}
    embeddings = {"speech": vectors, "fused": vectors[[0, 2, 1, 3, 4, 5]]}
    found = scores(Logits(tuple("012345"), {}, present, {}, embeddings), clips, (SPEAKER,))
    assert found["speaker.speech.eer"] == 0.0
    assert found["speaker.fused.eer"] >= 0.5
    assert decisive_score(found, (SPEAKER,), ["speech", "vote"]) == 1.0
    assert decisive_score(found, (replace(SPEAKER, adversarial=1.0),), ["speech", "vote"]) is None
