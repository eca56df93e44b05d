import itertools

import pytest
import torch
from torch import Tensor, nn

from affetto.errors import ConfigError
from affetto.learn.config import (
    FusionConfig,
    ModelConfig,
    SpeechConfig,
    TaskConfig,
    TextConfig,
    VisionConfig,
)
from affetto.learn.fusion import FUSED, FUSIONS, LEVELS
from affetto.learn.models.build import build_recogniser, resolve
from affetto.learn.models.recogniser import Output
from affetto.records import MODALITIES, Track

SUBSETS = [s for n in range(1, 4) for s in itertools.combinations(MODALITIES, n)]
EMOTION = TaskConfig("emotion", labels=("anger", "neutral", "sadness"))
LANGUAGE = TaskConfig("language", labels=("en", "other"), views=("text",))
#: A prefix is read by a language model; tests/learn/test_prefix.py brings one.
WITHOUT_FILES = [name for name in FUSIONS if name != "prefix"]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def config(
    form: str = "hybrid", tasks: tuple[TaskConfig, ...] = (EMOTION, LANGUAGE), **changes
) -> ModelConfig:
    sizes: dict = {
        "dim": 8,
        "speech": SpeechConfig(n_mels=16, channels=(4, 4), width=8, layers=1, normalise_seconds=0.2),
        "text": TextConfig(vocab_size=30, width=8, layers=1, heads=2),
        "vision": VisionConfig(size=32, channels=(4, 6), blocks=1),
        "fusion": FusionConfig(form, tokens=2, layers=1, heads=2),
        "tasks": tasks,
    }
    return ModelConfig(**{**sizes, **changes})


def padded(rows: list[Tensor]) -> Track:
    mask = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.bool)
    for i, row in enumerate(rows):
        mask[i, : len(row)] = True
    return Track(nn.utils.rnn.pad_sequence(rows, batch_first=True), mask)


def media() -> dict[str, list[Tensor]]:
    return {
        "speech": [torch.randn(n) * 0.1 for n in (8000, 3000, 5000, 300)],
        "text": [torch.randint(0, 30, (n,)) for n in (3, 6, 1, 4)],
        "vision": [torch.rand(n, 3, 32, 32) for n in (1, 2, 1, 1)],
    }


def inputs(rows: dict[str, list[Tensor]]) -> dict[str, Track]:
    return {name: padded(tensors) for name, tensors in rows.items()}


def same(first: Output, second: Output, first_row: int | None = None) -> None:
    """All of both outputs, or one row of the first and the only row of the second."""
    part = slice(None) if first_row is None else slice(first_row, first_row + 1)
    for task, views in first.logits.items():
        for view, logits in views.items():
            torch.testing.assert_close(logits[part], second.logits[task][view], atol=1e-5, rtol=0)
    for task, weights in first.weights.items():
        torch.testing.assert_close(weights[part], second.weights[task], atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", WITHOUT_FILES)
class TestEveryFusion:
    def test_what_each_modality_says_alone(self, fusion: str) -> None:
        model = build_recogniser(config(fusion)).eval()
        assert model.answers_alone == (FUSED in model.fusion.views)
        if model.answers_alone:
            heard = inputs(media())
            whole, alone = model(heard), model(heard, alone=True)
            assert set(alone.logits["emotion"]) == set(MODALITIES)
            for view in MODALITIES:
                assert torch.equal(alone.logits["emotion"][view], whole.logits["emotion"][view])

    def test_output(self, fusion: str) -> None:
        model = build_recogniser(config(fusion)).eval()
        output = model(inputs(media()))
        views = model.fusion.views
        assert model.views_of("emotion") == views
        assert set(output.logits["emotion"]) == {*views, "vote"}
        assert set(output.logits["language"]) == {"text", "vote"}
        assert all(logits.shape == (4, 3) for logits in output.logits["emotion"].values())
        assert set(output.embeddings) == set(output.present) == set(views)
        if model.fusion.vote == "fused" and fusion not in LEVELS["modality"]:
            assert "emotion" not in output.weights
        else:
            assert output.weights["emotion"].shape == (4, len(views))
            torch.testing.assert_close(output.weights["emotion"].sum(dim=1), torch.ones(4))

    def test_alone_equals_batched(self, fusion: str) -> None:
        model, rows = build_recogniser(config(fusion)).eval(), media()
        together = model(inputs(rows))
        for i in range(4):
            alone = model(inputs({name: tensors[i : i + 1] for name, tensors in rows.items()}))
            same(together, alone, i)

    @pytest.mark.parametrize("subset", SUBSETS)
    def test_missing_equals_absent(self, fusion: str, subset: tuple[str, ...]) -> None:
        model, whole = build_recogniser(config(fusion)).eval(), inputs(media())
        missing = model({name: whole[name] for name in subset})
        absent = model(
            {
                name: track if name in subset else Track(track.values, torch.zeros_like(track.mask))
                for name, track in whole.items()
            }
        )
        same(missing, absent)
        assert all(torch.isfinite(x).all() for views in missing.logits.values() for x in views.values())

    def test_finite_with_everything_absent(self, fusion: str) -> None:
        model, whole = build_recogniser(config(fusion)).eval(), inputs(media())
        output = model({name: Track(t.values, torch.zeros_like(t.mask)) for name, t in whole.items()})
        torch.testing.assert_close(output.logits["emotion"]["vote"].softmax(dim=1), torch.full((4, 3), 1 / 3))
        assert all(weights.abs().sum() == 0 for weights in output.weights.values())

    @pytest.mark.parametrize("subset", SUBSETS)
    def test_everything_that_should_learn_gets_a_gradient(self, fusion: str, subset: tuple[str, ...]) -> None:
        model = build_recogniser(config(fusion)).train()
        for name, parameter in model.named_parameters():
            # What begins at zero lets nothing behind it learn in the first step.
            if name.endswith("gate") or ".reliability." in name:
                nn.init.constant_(parameter, 0.5)
        whole = inputs(media())
        output = model({name: whole[name] for name in subset})
        loss = torch.zeros(())
        for views in output.logits.values():
            for view, logits in views.items():
                if view == "vote" or output.present[view].any():
                    target = torch.arange(4) % logits.shape[1]
                    loss = loss + nn.functional.cross_entropy(logits, target)
        loss.backward()
        for name, parameter in model.named_parameters():
            if fusion == "towers" and name in ("fusion.scale_logit", "fusion.bias"):
                continue  # only the contrastive loss learns them
            grad = parameter.grad
            assert grad is None or torch.isfinite(grad).all(), name
            learns = grad is not None and bool(grad.abs().sum() > 0)
            assert learns == should_learn(name, subset), name


def should_learn(name: str, subset: tuple[str, ...]) -> bool:
    """Whether a parameter has a say when the modalities of `subset` are there."""
    parts = name.split(".")
    if parts[-1] == "slopes":
        return False  # of attention by time, and these inputs have no times
    if name.startswith("votes.language"):
        return "text" in subset
    named = [m for m in MODALITIES if m in parts]
    if "absent" in parts:
        return named[0] not in subset
    if parts[1] in ("modulation", "query", "key", "score") and len(subset) == 1:
        return False  # of what weighs modalities against each other, or lets one change another
    if parts[1] == "readers" and ("norms" in parts or "feeds" in parts):
        return parts[2] in subset  # mult: what comes after the reading, of the modality that reads
    return set(named) <= set(subset)


def test_names_that_settings_refer_to() -> None:
    names = [name for name, _ in build_recogniser(config()).named_modules()]
    for name in (
        *(f"encoders.{modality}" for modality in MODALITIES),
        "fusion.unimodal.pools.speech",
        *(f"heads.emotion.{view}" for view in ("fused", *MODALITIES)),
        "heads.language.text",
        "votes.emotion",
    ):
        assert name in names


def test_one_modality_is_a_model_too() -> None:
    model = build_recogniser(config(text=None, vision=None, tasks=(EMOTION,)))
    assert model.modalities == ("speech",)
    assert model.views_of("emotion") == ("fused", "speech")
    assert torch.isfinite(model(inputs({"speech": media()["speech"]})).logits["emotion"]["vote"]).all()


def test_media_without_an_encoder_are_left_out() -> None:
    model = build_recogniser(config(vision=None, tasks=(EMOTION,))).eval()
    rows = media()
    some = {name: rows[name] for name in ("speech", "text")}
    same(model(inputs(rows)), model(inputs(some)))


def test_kinds_of_tasks_size_the_heads() -> None:
    tasks = (
        TaskConfig("emotion", "multi-label", ("a", "b", "c", "d"), head="queries"),
        TaskConfig("valence", "dimension", head="mlp", views=("vision", "fused")),
    )
    model = build_recogniser(config(tasks=tasks))
    output = model(inputs(media()))
    assert output.logits["emotion"]["vote"].shape == (4, 4)
    assert output.logits["valence"]["vote"].shape == (4, 1)
    assert model.views_of("valence") == ("fused", "vision")


@pytest.mark.parametrize(
    ("fusion", "vote", "built"),
    [
        ("hybrid", None, "LearnedVote"),
        ("late", None, "LearnedVote"),
        ("late", "majority", "MajorityVote"),
        ("late", "validated", "ValidatedVote"),
        ("gated", None, "FusedVote"),
        ("concat", "learned", "LearnedVote"),
        ("hybrid", "mean", "MeanVote"),
        ("late", "fused", "LearnedVote"),
    ],
)
def test_the_vote_of_a_form(fusion: str, vote, built: str) -> None:
    sizes = FusionConfig(fusion, tokens=2, layers=1, heads=2, vote=vote)
    assert type(build_recogniser(config(fusion=sizes)).votes["emotion"]).__name__ == built


def test_majority_of_a_task_without_classes_is_the_mean() -> None:
    tasks = (TaskConfig("emotion", "multi-label", ("a", "b")),)
    model = build_recogniser(config(tasks=tasks, fusion=FusionConfig("late", vote="majority")))
    assert type(model.votes["emotion"]).__name__ == "MeanVote"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"speech": SpeechConfig("cnnn")},
            "model.speech.name: expected one of cnn, crnn, transformer, speech_embedding, pretrained, got 'cnnn'",
        ),
        ({"text": TextConfig("word")}, "did you mean 'words'"),
        ({"fusion": FusionConfig("gate")}, "did you mean 'gated'"),
        ({"tasks": (TaskConfig("emotion", labels=("a",), head="liner"),)}, "did you mean 'linear'"),
        ({"tasks": (TaskConfig("emotion", labels=("a",), views=("sound",)),)}, "model.tasks.0.views"),
        ({"tasks": (TaskConfig("emotion", labels=("a",), views=()),)}, "model.tasks.0.views"),
        ({"tasks": (TaskConfig("words", "sequence", ("a",)),)}, "model.tasks.0.kind"),
        ({"text": TextConfig(width=10, heads=4)}, "model.text: width 10"),
        ({"vision": VisionConfig("vit", size=48, patch=7)}, "model.vision: size 48"),
        ({"speech": SpeechConfig("crnn", channels=(8,))}, "model.speech: channels"),
        ({"speech": SpeechConfig("crnn", layers=0)}, "model.speech: layers 0"),
        ({"fusion": FusionConfig(heads=3)}, "model.fusion: width 8"),
        (
            {"dim": 6, "tasks": (TaskConfig("emotion", labels=("a",), head="queries"),)},
            "model.tasks.0: width 6",
        ),
        ({"speech": None, "text": None, "vision": None}, "at least one of speech, text, vision"),
    ],
)
def test_what_cannot_be_built_is_told_by_path(changes: dict, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_recogniser(config(**changes))
    assert caught.value.code == "config_invalid"
    assert told in str(caught.value)


def test_word_vectors_become_the_first_weights(tmp_path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("joy 1 2 3 4\nfear 5 6 7 8\n", encoding="utf-8")
    sizes = TextConfig("words", vocab_size=3, width=4, vectors=str(path))
    model = build_recogniser(config(text=sizes), tokens=["[PAD]", "fear", "joy"])
    weight = model.get_parameter("encoders.text.embedding.weight")
    assert weight[1:].tolist() == [[5, 6, 7, 8], [1, 2, 3, 4]]
    assert weight[0].abs().sum() > 0
    for wrong in ({"vocab_size": 4}, {"width": 8}):
        changed = TextConfig("words", **{"vocab_size": 3, "width": 4, **wrong}, vectors=str(path))
        with pytest.raises(ConfigError, match="3 vectors of 4"):
            build_recogniser(config(text=changed), tokens=["[PAD]", "fear", "joy"])


def test_without_tokens_the_word_vectors_are_not_opened() -> None:
    build_recogniser(config(text=TextConfig("words", vocab_size=3, width=4, vectors="gone.txt")))


def test_resolve_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'late'"):
        resolve(FUSIONS, "lat", "model.fusion.name")
