import numpy as np
import pytest
import torch

from affetto.errors import DataError
from affetto.learn.config import AugmentConfig, StageConfig
from affetto.learn.training.loaders import (
    Augmentation,
    BatchBuilder,
    BatchPlan,
    make_loader,
    reading_plans,
)
from affetto.learn.training.media_cache import as_float, as_int16
from affetto.learn.training.planning import StagePlan
from affetto.records import Clip

PLAIN = AugmentConfig(
    noise_probability=0, gain_db=0, speed_probability=0, reverb_probability=0, crop_seconds=(0.3, 0.3),
    word_dropout=0, flip=0, image_shift=0, image_erase=0, image_contrast=0,
)  # fmt: skip


def equal(left, right):
    assert left.ids == right.ids
    assert left.inputs.keys() == right.inputs.keys()
    for name, track in left.inputs.items():
        assert torch.equal(track.values, right.inputs[name].values)
        assert torch.equal(track.mask, right.inputs[name].mask)
        np.testing.assert_equal(track.times, right.inputs[name].times)
    for name, values in left.targets.items():
        assert torch.equal(values, right.targets[name])
        assert torch.equal(left.target_mask[name], right.target_mask[name])


def test_a_batch_pads_and_says_what_is_real(clips, cache, model):
    cache.add(clips)
    chosen = (clips[0], clips[1], clips[2], clips[4])  # speech, text, vision, text
    batch = BatchBuilder(cache, model.tasks)[BatchPlan(chosen)]
    assert batch.ids == tuple(clip.id for clip in chosen)
    speech, text, vision = (batch.inputs[name] for name in ("speech", "text", "vision"))
    samples = len(cache.speech(clips[0]))
    assert speech.values.shape == (4, samples)
    assert speech.mask.sum(dim=1).tolist() == [samples, 0, 0, 0]
    assert text.values.dtype == torch.int64
    assert text.mask.sum(dim=1).tolist() == [0, len(cache.tokens(clips[1])), 0, len(cache.tokens(clips[4]))]
    assert vision.values.shape == (4, 1, 3, 32, 32)
    assert vision.mask[:, 0].tolist() == [False, False, True, False]
    assert batch.targets["emotion"].tolist() == [[1, 0, 0]] * 4
    assert batch.target_mask["emotion"].all()


def test_a_modality_that_no_clip_has_is_left_out(clips, cache, model):
    cache.add(clips)
    batch = BatchBuilder(cache, model.tasks)[BatchPlan((clips[0], clips[3]))]
    assert set(batch.inputs) == {"speech"}  # the words of these clips are scripted


def test_values_are_those_of_the_decoder(clips, cache, model):
    cache.add(clips)
    batch = BatchBuilder(cache, model.tasks)[BatchPlan((clips[2],))]
    face = batch.inputs["vision"].values[0, 0]
    assert torch.equal(face[0], face[1])
    assert face.min() >= 0
    assert face.max() <= 1
    assert face[0, :10].mean() == pytest.approx(180 / 255, abs=0.02)  # anger's stripe
    assert face[0, 10:].mean() == pytest.approx(90 / 255, abs=0.02)


def test_sixteen_bit_samples_survive_the_cache():
    samples = np.array([-32768, -1, 0, 1, 32767], np.int16)
    np.testing.assert_array_equal(as_int16(as_float(samples)), samples)
    assert as_int16(np.array([1.5, -1.5], np.float32)).tolist() == [32767, -32768]


def test_the_same_plan_gives_the_same_batch_with_any_number_of_workers(clips, cache, make_config):
    cache.add(clips)
    stage = StageConfig("all", ("speech", "text", "vision"), epochs=1, batch_size=8)
    plan = StagePlan(make_config(stage), stage, clips, cache)
    alone = list(make_loader(plan.builder(), plan.batches(2)))
    helped = list(make_loader(plan.builder(), plan.batches(2), workers=2))
    backwards = list(make_loader(plan.builder(), plan.batches(2)[::-1]))[::-1]
    for one, two, three in zip(alone, helped, backwards, strict=True):
        equal(one, two)
        equal(one, three)


def test_epochs_differ_and_the_seed_matters(clips, cache, make_config):
    cache.add(clips)
    stage = StageConfig("speech", ("speech",), epochs=1, batch_size=8)

    def ids(seed, epoch):
        plan = StagePlan(make_config(stage, seed=seed), stage, clips, cache)
        return [clip.id for batch in plan.batches(epoch) for clip in batch.clips]

    assert ids(0, 0) == ids(0, 0)
    assert ids(0, 0) != ids(0, 1)
    assert ids(0, 0) != ids(1, 0)


def test_making_a_loader_leaves_torch_as_it_was(clips, cache, model):
    cache.add(clips)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(make_loader(BatchBuilder(cache, model.tasks), [BatchPlan(tuple(clips[:2]))]))
    assert torch.equal(torch.get_rng_state(), before)


def test_crops_have_one_length_and_keep_to_the_limit_of_a_corpus(clips, cache, model):
    cache.add(clips)
    speech = [clip for clip in clips if clip.speech]
    builder = BatchBuilder(cache, model.tasks, Augmentation(PLAIN, 0, "speech"))
    mask = builder[BatchPlan(tuple(speech))].inputs["speech"].mask
    assert mask.all()
    assert mask.shape[1] == 4800
    limited = Augmentation(PLAIN, 0, "speech", max_seconds={"tones": 0.2})
    mask = BatchBuilder(cache, model.tasks, limited)[BatchPlan(tuple(speech))].inputs["speech"].mask
    assert mask.sum(dim=1).tolist() == [3200] * len(speech)


def test_reading_covers_every_clip_once_in_batches_of_like_modality(clips, cache):
    cache.add(clips)
    plans, order = reading_plans(cache, clips, 8)
    assert sorted(order) == list(range(len(clips)))
    assert [clip.id for plan in plans for clip in plan.clips] == [clips[i].id for i in order]
    assert sum(len({clip.modalities() for clip in plan.clips}) > 1 for plan in plans) <= 2


def test_unreadable_clips_are_named_and_left_out(clips, cache):
    bad = Clip("b1", speech="broken/1", corpus="tones")
    unreadable = cache.add([*clips, bad])
    assert list(unreadable) == [("tones", "b1")]
    assert unreadable["tones", "b1"].code == "audio_corrupt"
    assert len(cache.speech(clips[0])) > 0


def test_too_many_unreadable_clips_stop_the_run(clips, cache):
    bad = [Clip(f"b{i}", speech=f"broken/{i}") for i in range(10)]
    with pytest.raises(DataError, match="10 of 30 clips cannot be decoded") as error:
        cache.add([*clips[:20], *bad])
    assert error.value.code == "corpus_unreadable"


def test_a_stage_without_clips_says_so(clips, cache, make_config):
    stage = StageConfig("speech", ("speech",), epochs=1)
    with pytest.raises(DataError, match="no training clip has speech"):
        StagePlan(make_config(stage), stage, [clip for clip in clips if clip.speech is None], cache)


def test_a_paired_stage_has_whole_triples_and_drops_modalities(clips, cache, make_config):
    cache.add(clips)
    stage = StageConfig("fusion", ("speech", "text", "vision"), epochs=1, batch_size=6, paired=True)
    plan = StagePlan(make_config(stage), stage, clips, cache)
    drawn = [clip for batch in plan.batches(0) for clip in batch.clips]
    assert {len(clip.modalities()) for clip in drawn} == {3}
    assert len(drawn) == 30 == plan.steps_per_epoch * 6
    assert all("train" in clip.speech for clip in drawn)
    assert all("validation" in clip.speech for clip in plan.validation)
    dropping = StageConfig(
        "fusion", ("speech", "text", "vision"), epochs=1, batch_size=6, paired=True, modality_dropout=1.0
    )
    plan = StagePlan(make_config(dropping), dropping, clips, cache)
    drawn = [clip for epoch in range(3) for batch in plan.batches(epoch) for clip in batch.clips]
    assert {clip.modalities() for clip in drawn} >= {
        ("speech",),
        ("text",),
        ("vision",),
        ("speech", "vision"),
    }
    assert all(0 < len(clip.modalities()) < 3 for clip in drawn)
