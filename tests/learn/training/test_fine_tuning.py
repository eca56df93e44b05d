"""Stages with a pretrained backbone, a teacher, or no labels: they learn, they resume, they refuse."""

from dataclasses import replace

import pytest
import torch

from affetto.bundle import open_bundle
from affetto.errors import ConfigError, TrainingError
from affetto.features.text import load_tokenizer
from affetto.learn.config import (
    BackboneConfig,
    DistilConfig,
    FusionConfig,
    LoraConfig,
    ModelConfig,
    StageConfig,
    TaskConfig,
    TextConfig,
)
from affetto.learn.export.writer import Facts, load_model, rounded, write_bundle
from affetto.learn.layers.lora import LowRank
from affetto.learn.models.build import backbones
from affetto.learn.training.augmentation import Stretch
from affetto.learn.training.distillation import EMBEDDING, Teacher, answer_name, ask
from affetto.learn.training.loop import Start, fit
from affetto.learn.training.pretraining import MaskedSpeech, MaskedWords
from affetto.learn.training.rate_finder import draw_rates, find_rate
from affetto.learn.training.run_folder import RunFolder
from affetto.predictor import load
from affetto.records import Clip, Track
from backbones import write_backbone

pytestmark = pytest.mark.usefixtures("quick_export")
EMOTIONS = ("happiness", "sadness")
STAGE = StageConfig("text", ("text",), steps=6, batch_size=8, lr=1e-2)


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    monkeypatch.setattr(RunFolder, "write_curves", lambda *_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_backbone(tmp_path_factory.mktemp("bert"), "bert"))


@pytest.fixture(scope="module")
def texts():
    """Clips that say "i am so happy today" or "sad", some of each held out."""
    made = []
    for i in range(40):
        emotion, word = ("happiness", "happy") if i % 2 else ("sadness", "sad")
        split = "validation" if i >= 32 else "train"
        text = f"i am {'so ' * (i % 3)}{word} {'today' if i % 5 else ''}".strip()
        made.append(
            Clip(str(i), text=text, language="en", labels={"emotion": emotion}, split=split, corpus="w")
        )
    return made


def tuned(folder, **backbone):
    return ModelConfig(
        dim=16,
        text=TextConfig(
            name="pretrained", max_tokens=16, dropout=0.0, backbone=BackboneConfig(folder, **backbone)
        ),
        fusion=FusionConfig(name="late"),
        tasks=(TaskConfig("emotion", labels=EMOTIONS),),
    )


@pytest.fixture(scope="module")
def adapted(folder, texts, make_config, tmp_path_factory):
    """A run that tunes the tiny BERT by LoRA."""
    config = make_config(
        replace(STAGE, steps=60, lr=3e-2, backbone_rate=0.5),
        model=tuned(folder, lora=LoraConfig(rank=2, targets=("all-linear",))),
    )
    return fit(config, texts, tmp_path_factory.mktemp("run") / "lora", checkpoint_every=0)


def test_only_the_adapter_and_the_head_learn_and_they_do(adapted, folder, texts):
    original = load_tokenizer(f"{folder}/tokenizer.json").get_vocab()
    assert adapted.tokenizer.get_vocab() == original
    assert adapted.scores["emotion.vote.uar"] == 1.0
    model = backbones(adapted.recogniser)["text"].model
    from transformers import AutoModel

    base = AutoModel.from_pretrained(folder)
    assert torch.equal(
        model.get_submodule("encoder.layer.0.output.dense.base_layer").weight,
        base.get_submodule("encoder.layer.0.output.dense").weight,
    )


def test_the_run_says_which_files_it_began_with_and_keeps_its_adapter(adapted):
    assert "sha256:" in (adapted.run_folder / "backbones.json").read_text()
    kept = {path.name for path in (adapted.run_folder / "adapters" / "text").iterdir()}
    assert kept == {"adapter_config.json", "adapter_model.safetensors"}


def test_another_backbone_under_the_same_path_is_refused(tmp_path):
    run = RunFolder(tmp_path)
    run.write_backbones({"text": {"path": "x", "revision": "one"}})
    run.write_backbones({"text": {"path": "x", "revision": "one"}})
    with pytest.raises(TrainingError, match="began with revision one"):
        run.write_backbones({"text": {"path": "x", "revision": "two"}})


def test_merging_for_export_changes_no_answer_and_leaves_the_model(adapted, texts):
    before = {name: value.clone() for name, value in adapted.recogniser.state_dict().items()}
    twin = rounded(adapted.recogniser)
    assert not any("lora_" in name for name in twin.state_dict())
    assert not any(isinstance(part, LowRank) for part in twin.modules())
    assert all(torch.equal(value, before[name]) for name, value in adapted.recogniser.state_dict().items())
    ids = torch.tensor([[2, 5, 6, 8, 3]])
    inputs = {"text": Track(ids, torch.ones_like(ids, dtype=torch.bool))}
    with torch.no_grad():
        one, two = (m.eval()(inputs).logits["emotion"]["vote"] for m in (adapted.recogniser, twin))
    assert torch.allclose(one, two, atol=2e-2)


def test_its_bundle_answers_without_torch_s_help_and_starts_another_run(
    adapted, folder, texts, make_config, tmp_path
):
    items = [adapted.cache.inputs(clip) for clip in texts[:8]]
    bundle = write_bundle(
        adapted.recogniser,
        adapted.config.model,
        tmp_path / "bundle",
        Facts("tiny", "1", "CC0", languages=("en",)),
        tokenizer=adapted.tokenizer.to_str().encode(),
        examples=items,
    )
    assert {"text.backbone.safetensors", "text.backbone.json"} <= set(bundle.info.files)
    assert load(tmp_path / "bundle").predict(text="i am so sad today").emotion == "sadness"
    again = load_model(open_bundle(tmp_path / "bundle"))
    fresh = make_config(replace(STAGE, steps=1, lr=1e-9), model=tuned("/nowhere/now"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        fit(fresh, texts, tmp_path / "lost")
    model = tuned("/nowhere/now", lora=LoraConfig(rank=2))
    form = {**backbones(again)["text"].form, "path": "/nowhere/now"}
    start = Start(again.state_dict(), bundle.read("tokenizer.json"), {"text": form})
    went_on = fit(
        make_config(replace(STAGE, steps=1, lr=1e-9), model=model), texts, tmp_path / "on", start=start
    )
    assert went_on.scores["emotion.vote.uar"] == 1.0


@pytest.mark.parametrize("stop", [1, 4])
def test_accumulated_steps_resume_bit_for_bit(folder, texts, make_config, tmp_path, stop):
    stage = replace(STAGE, steps=8, accumulate=2, ema=0.9, layer_decay=0.9, schedule="one-cycle")
    config = make_config(stage, model=tuned(folder, trained_layers=1))
    whole = fit(config, texts, tmp_path / "whole")

    class PowerCut(Exception):
        pass

    def cut(self, trainer, module):
        save(self, trainer, module)
        if module.state.step >= stop:
            raise PowerCut

    from affetto.learn.training.stage import Bookkeeping

    save = Bookkeeping._save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bookkeeping, "_save", cut)
        with pytest.raises(PowerCut):
            fit(config, texts, tmp_path / "cut", checkpoint_every=0)
    resumed = fit(config, texts, tmp_path / "cut", resume=True)
    one, two = whole.recogniser.state_dict(), resumed.recogniser.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.history == resumed.history


def test_two_halves_move_the_weights_as_their_whole(folder, texts, make_config, tmp_path):
    """Accumulated gradients of two batches are those of one batch of both, where rows weigh alike."""
    words = [clip for clip in texts if clip.split == "train"][:16]
    found = []
    for batch, accumulate in ((16, 1), (8, 2)):
        stage = replace(
            STAGE, steps=16 // batch, batch_size=batch, accumulate=accumulate, balance=0.0, warmup=0.0
        )
        config = make_config(replace(stage, schedule="constant"), model=tuned(folder))
        config = replace(
            config, data=replace(config.data, augment=replace(config.data.augment, word_dropout=0.0))
        )
        config = replace(config, model=replace(config.model, fusion=FusionConfig(name="late", dropout=0.0)))
        found.append(fit(config, words, tmp_path / f"{batch}").recogniser.state_dict())
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-5) for name in found[0])


def test_half_precision_learns(folder, texts, make_config, tmp_path):
    config = make_config(replace(STAGE, steps=60, lr=3e-2), model=tuned(folder), precision="bf16")
    result = fit(config, texts, tmp_path)
    assert result.scores["emotion.vote.uar"] == 1.0
    assert all(value.dtype == torch.float32 for value in result.recogniser.parameters())


def test_an_adapter_that_gets_no_gradient_stops_the_run(folder, texts, make_config, tmp_path, monkeypatch):
    from affetto.learn.encoders.pretrained.backbone import Backbone

    monkeypatch.setattr(Backbone, "silent", lambda self: ["encoder.layer.0"] if self.adapted else [])
    config = make_config(STAGE, model=tuned(folder, lora=LoraConfig(rank=2)))
    with pytest.raises(TrainingError, match=r"text\.encoder\.layer\.0 gets no gradient") as caught:
        fit(config, texts, tmp_path)
    assert caught.value.code == "adapter_silent"


# --- a teacher ----------------------------------------------------------------------------------------------


def teacher_of(adapted):
    return Teacher(rounded(adapted.recogniser), adapted.config.model, adapted.tokenizer)


def test_answers_find_their_clips_and_are_asked_for_once(adapted, texts, tmp_path):
    distil = DistilConfig("t", languages=("en",))
    foreign = Clip("x", text="angry", language="de", corpus="w")
    tasks = (TaskConfig("emotion", labels=("sadness", "happiness")),)  # another order than the teacher's
    answers = ask(teacher_of(adapted), [*texts, foreign], tasks, distil, tmp_path / "t.npz")
    values, answered = answers.targets([texts[3], foreign, texts[0]], [Stretch()] * 3)
    assert answered.tolist() == [True, False, True]
    logits = values[answer_name("emotion")]
    assert logits[[0, 2]].argmax(axis=1).tolist() == [1, 0]  # happy, sad
    assert values[EMBEDDING].shape == (3, 16)
    stored = (tmp_path / "t.npz").stat().st_mtime_ns
    ask(teacher_of(adapted), [*texts, foreign], tasks, distil, tmp_path / "t.npz")
    assert (tmp_path / "t.npz").stat().st_mtime_ns == stored


def test_a_student_learns_from_answers_alone(adapted, texts, make_config, tmp_path):
    """No training clip has a label: all that is to be learnt comes from the teacher."""
    raw = [replace(clip, labels={}) if clip.split == "train" else clip for clip in texts]
    student = replace(
        adapted.config.model, dim=8, text=TextConfig(name="words", vocab_size=300, max_tokens=16, width=8)
    )
    stage = replace(STAGE, steps=60, lr=5e-2, distil=DistilConfig("t", weight=1.0, features=1.0))
    config = make_config(stage, model=student)
    result = fit(config, raw, tmp_path / "run", teachers={"t": teacher_of(adapted)})
    assert result.scores["emotion.vote.uar"] == 1.0
    with pytest.raises(ConfigError, match="the teacher t was not handed"):
        fit(config, raw, tmp_path / "alone")


def test_a_teacher_of_other_tasks_is_refused(adapted, texts, tmp_path):
    with pytest.raises(ConfigError, match="it knows emotion: happiness, sadness"):
        ask(
            teacher_of(adapted),
            texts,
            (TaskConfig("stance", labels=("for",)),),
            DistilConfig("t"),
            tmp_path / "t",
        )


# --- without labels -----------------------------------------------------------------------------------------


def test_hidden_words_are_those_that_the_shares_say():
    torch.manual_seed(0)
    encoder = torch.nn.Module()
    encoder.out_dim, encoder.embedding = 4, torch.nn.Embedding(50, 6)
    objective = MaskedWords(encoder, blank=3, special=(0, 1, 2, 3))
    ids = torch.randint(4, 50, (200, 50))
    ids[:, 0] = 2
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 40:] = False
    shown, hidden = objective.hide(ids, mask)
    assert not hidden[:, 0].any()
    assert not hidden[:, 40:].any()
    assert torch.equal(shown[~hidden], ids[~hidden])
    assert hidden[:, 1:40].float().mean() == pytest.approx(0.15, abs=0.01)
    assert (shown[hidden] == 3).float().mean() == pytest.approx(0.8, abs=0.03)
    assert (shown[hidden] == ids[hidden]).float().mean() == pytest.approx(0.1, abs=0.03)


def test_masked_words_are_learnt_without_a_label_and_resumed(folder, texts, make_config, tmp_path):
    raw = [replace(clip, labels={}) for clip in texts]
    stage = replace(STAGE, steps=40, batch_size=16, objective="masked", validate_every=10)
    config = make_config(stage, model=tuned(folder, trained_layers=None))
    result = fit(config, raw, tmp_path)
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < 0.7 * losses[0]


def test_masked_speech_is_learnt_without_a_label(make_config, clips, cache, tmp_path):
    raw = [replace(clip, labels={}) for clip in clips]
    stage = StageConfig(
        "listen", ("speech",), steps=40, batch_size=12, lr=2e-2, objective="masked", validate_every=8
    )
    result = fit(make_config(stage), raw, tmp_path, cache=cache)
    losses = [record["loss"] for record in result.history]
    assert losses[-1] < 0.8 * losses[0]


def test_what_was_silenced_is_a_share_of_real_samples_and_its_sound_is_measured():
    torch.manual_seed(0)
    objective = MaskedSpeech(4)
    mask = torch.ones(40, 48000, dtype=torch.bool)
    mask[:, 24000:] = False
    hidden = objective.hide(mask)
    assert not hidden[:, 24000:].any()
    assert hidden[:, :24000].float().mean() == pytest.approx(0.3, abs=0.05)
    time = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 3250 * time)[None]  # in the 7th of 16 bands of 500 Hz
    assert objective.sound(tone, torch.tensor([[8000]]))[0, 0].argmax() == 6


def test_masked_objectives_refuse_what_they_cannot_mask(folder, texts, make_config, clips, cache, tmp_path):
    vision = StageConfig("look", ("vision",), steps=1, objective="masked")
    with pytest.raises(ConfigError, match="for text or for speech alone"):
        fit(make_config(vision), clips, tmp_path / "a", cache=cache)
    whole = make_config(replace(STAGE, objective="masked"), model=tuned(folder, pooling="mean"))
    with pytest.raises(ConfigError, match=r"backbone\.pooling steps"):
        fit(whole, texts, tmp_path / "b")


# --- the learning rate finder -------------------------------------------------------------------------------


def test_the_rate_is_found_between_too_little_and_too_much(folder, texts, make_config, tmp_path):
    curve = find_rate(make_config(STAGE, model=tuned(folder)), texts, steps=40)
    assert 1e-5 < curve.suggestion < 1.0
    assert len(curve.rates) == len(curve.losses) <= 40
    assert all(later > earlier for earlier, later in zip(curve.rates, curve.rates[1:], strict=False))
    draw_rates(curve, tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
