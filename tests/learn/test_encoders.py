import importlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from affetto.errors import ConfigError
from affetto.learn.encoders import ENCODERS
from affetto.learn.encoders.frontend import LogMel, MelPower, SlidingMean, SpecAugment, SpeechFrontEnd
from affetto.learn.encoders.speech import SpeechCnn, SpeechCrnn, SpeechTransformer
from affetto.learn.encoders.text import TextCnn, TextTransformer, WordVectors, load_vectors
from affetto.learn.encoders.vision import ResNet, VisionTransformer
from affetto.learn.layers.conv import MaskedBatchNorm
from affetto.records import Track

pytestmark = pytest.mark.usefixtures("quick_export")
RATE = 16000
DIM = 6
SPEECH = {"cnn": SpeechCnn, "crnn": SpeechCrnn, "transformer": SpeechTransformer}
TEXT = {"words": WordVectors, "cnn": TextCnn, "transformer": TextTransformer}
VISION = {"resnet": ResNet, "vit": VisionTransformer}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def front_end(n_mels: int = 16, seconds: float = 0.2) -> SpeechFrontEnd:
    augment = SpecAugment(frequency_masks=2, frequency_width=6, time_masks=2, time_seconds=0.3)
    return SpeechFrontEnd(n_mels, seconds, augment)


def used(module: nn.Module) -> nn.Module:
    """In evaluation, its running statistics no longer those of the first day."""
    for part in module.modules():
        if isinstance(part, MaskedBatchNorm):
            nn.init.normal_(part.running_mean)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.bias)
    return module.eval()


def speech(name: str) -> nn.Module:
    sizes: dict[str, object] = {"channels": (4, 4, 6), "layers": 1}
    if name != "cnn":
        sizes["width"] = 8
    if name == "transformer":
        sizes["heads"] = 2
    return used(SPEECH[name](DIM, front_end(), **sizes))


def text(name: str) -> nn.Module:
    sizes = {"layers": 2, "heads": 2} if name == "transformer" else {}
    return used(TEXT[name](DIM, vocab_size=50, width=8, **sizes))


def vision(name: str, size: int = 32) -> nn.Module:
    sizes = {"channels": (4, 6)} if name == "resnet" else {"size": size, "width": 8, "layers": 1, "heads": 2}
    return used(VISION[name](DIM, **sizes))


def batch(rows: list[Tensor]) -> Track:
    """Rows of unlike lengths, padded with rubbish that nobody may see."""
    longest = max(len(row) for row in rows)
    values = torch.full((len(rows), longest, *rows[0].shape[1:]), 7, dtype=rows[0].dtype)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        values[i, : len(row)], mask[i, : len(row)] = row, True
    return Track(values, mask)


def alone_equals_batched(encoder: nn.Module, rows: list[Tensor], tolerance: float = 1e-5) -> None:
    track = batch(rows)
    together = encoder(track)
    for i, row in enumerate(rows):
        single = encoder(Track(row[None], torch.ones(1, len(row), dtype=torch.bool)))
        real = int(single.mask.sum())
        assert int(together.mask[i].sum()) == real
        torch.testing.assert_close(together.values[i, :real], single.values[0, :real], atol=tolerance, rtol=0)
        assert together.values[i, real:].abs().sum() == 0
    absent = encoder(Track(track.values, torch.zeros_like(track.mask)))
    assert not absent.mask.any()
    assert absent.values.abs().sum() == 0


# --- front end ----------------------------------------------------------------------------------------------


def reference_log_mel(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """[T n_mels] in double, written from the definitions: FFT of each frame, Slaney's mel scale and areas."""

    def to_mel(hertz: float) -> float:
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    def to_hertz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)

    edges = [to_hertz(mel) for mel in np.linspace(to_mel(20), to_mel(8000), n_mels + 2)]
    bins = np.arange(201) * RATE / 400
    filters = np.zeros((n_mels, 201))
    for i, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        rise, fall = (bins - low) / (centre - low), (high - bins) / (high - centre)
        filters[i] = np.clip(np.minimum(rise, fall), 0, None) * 2 / (high - low)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    starts = range(0, len(waveform) - 399, 160)
    power = np.stack([np.abs(np.fft.rfft(waveform[s : s + 400] * window)) ** 2 for s in starts])
    return np.log(power @ filters.T + 1e-6)


@pytest.mark.parametrize("n_mels", [40, 64, 80])
@pytest.mark.parametrize("loudness", [1.0, 1e-3])
def test_log_mel_equals_the_reference(n_mels: int, loudness: float) -> None:
    seconds = np.arange(RATE) / RATE
    sweep = np.sin(2 * np.pi * (100 + 3000 * seconds) * seconds) * seconds
    waveform = loudness * (0.8 * sweep + 0.05 * np.random.default_rng(0).standard_normal(RATE))
    ours, mask = LogMel(n_mels)(torch.tensor(waveform)[None].float(), torch.ones(1, RATE, dtype=torch.bool))
    expected = reference_log_mel(waveform.astype(np.float32).astype(np.float64), n_mels)
    assert mask.all()
    assert ours.shape[2] == len(expected) == (RATE - 400) // 160 + 1
    np.testing.assert_allclose(ours[0].T.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("size", [400, 512])
@pytest.mark.parametrize("samples", [400, 401, 559, 1111])
def test_power_by_halves_is_that_of_the_whole_transform(size: int, samples: int) -> None:
    rng = np.random.default_rng(0)
    waveform, mel = rng.standard_normal(samples), rng.random((7, size // 2 + 1))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([waveform[s : s + 400] * window for s in range(0, samples - 399, 160)])
    expected = np.abs(np.fft.rfft(frames, size)) ** 2 @ mel.T
    ours = MelPower(mel, size)(torch.tensor(waveform)[None].float())
    np.testing.assert_allclose(ours[0].T.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (1, 1), (399, 1), (400, 1), (559, 1), (560, 2), (719, 2), (720, 3)]
)
@pytest.mark.parametrize("padded_to", [720, 1000])
def test_frames_of_a_length(samples: int, frames: int, padded_to: int) -> None:
    mask = torch.arange(padded_to)[None] < samples
    x, real = LogMel(8)(torch.randn(1, padded_to), mask)
    assert real[0].tolist() == [True] * frames + [False] * (x.shape[2] - frames)


def test_short_batch_is_padded_with_silence() -> None:
    waveform = torch.randn(1, 250)
    x, real = LogMel(8)(waveform, torch.ones(1, 250, dtype=torch.bool))
    padded, _ = LogMel(8)(nn.functional.pad(waveform, (0, 150)), torch.ones(1, 400, dtype=torch.bool))
    assert real.tolist() == [[True]]
    torch.testing.assert_close(x, padded)


@pytest.mark.parametrize("reach", [1, 7, 20, 150])
def test_sliding_mean_equals_a_loop(reach: int) -> None:
    x, mask = torch.randn(2, 3, 40), torch.arange(40)[None] < torch.tensor([[40], [23]])
    ours = SlidingMean(reach / 100)(x, mask)
    for row, length in enumerate((40, 23)):
        for t in range(length):
            near = x[row, :, max(0, t - reach) : min(length, t + reach + 1)]
            torch.testing.assert_close(ours[row, :, t], x[row, :, t] - near.mean(dim=1), atol=1e-5, rtol=0)
        assert ours[row, :, length:].abs().sum() == 0


def test_spec_augment_blanks_bands_and_stretches_in_training_only() -> None:
    augment = SpecAugment(frequency_masks=1, frequency_width=4, time_masks=1, time_seconds=0.1)
    x, mask = torch.ones(64, 16, 50), torch.arange(50)[None] < torch.tensor([[50]] * 32 + [[20]] * 32)
    assert augment.eval()(x, mask) is x
    blanked = augment.train()(x, mask) == 0
    bands, steps = blanked.all(dim=2), blanked.all(dim=1)
    assert 0 < bands.sum(dim=1).max() <= 4
    assert 0 < steps[:32].sum(dim=1).max() <= 10
    assert 0 < steps[32:].sum(dim=1).max() <= 4  # a fifth of 20 frames
    assert not steps[32:, 20:].any()
    assert (blanked == (bands[:, :, None] | steps[:, None])).all()
    assert len({tuple(row) for row in steps.tolist()}) > 20  # every row has its own


def test_warp_stretches_the_mel_axis_of_every_clip_alike() -> None:
    augment = SpecAugment(frequency_masks=0, frequency_width=0, time_masks=0, time_seconds=0.0, warp=0.2)
    ramp = torch.arange(16.0)[None, :, None].expand(32, -1, 5)
    warped = augment.train()(ramp, torch.ones(32, 5, dtype=torch.bool))
    factors = warped[:, 8, 0] / 8
    assert 0.8 <= factors.min() < 0.9
    assert 1.1 < factors.max() <= 1.2
    expected = (torch.arange(16.0)[None] * factors[:, None]).clamp(max=15)
    torch.testing.assert_close(warped, expected[..., None].expand_as(warped), atol=1e-5, rtol=0)
    assert augment.eval()(ramp, torch.ones(32, 5, dtype=torch.bool)) is ramp


# --- speech -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPEECH)
def test_speech_alone_equals_batched(name: str) -> None:
    rows = [torch.randn(n) * 0.1 for n in (9000, 16000, 300, 1280, 7777)]
    alone_equals_batched(speech(name), rows)


@pytest.mark.parametrize("name", SPEECH)
def test_speech_states_its_clock(name: str) -> None:
    encoder = speech(name)
    track = encoder(batch([torch.randn(2 * RATE)]))
    assert track.values.shape == (1, math.ceil(198 / (100 / encoder.rate)), DIM)
    assert track.times.shape == track.mask.shape
    assert float(track.times[0, 0]) == pytest.approx(0.0125)
    steps = torch.diff(track.times[0])
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / encoder.rate), atol=1e-6, rtol=0)


def test_cnn_sees_what_it_says_around_the_time_it_says() -> None:
    encoder = speech("cnn")
    for part in encoder.modules():
        if isinstance(part, MaskedBatchNorm):
            nn.init.constant_(part.bias, 3.0)  # a closed ReLU would hide what lies behind it
    waveform = (torch.randn(1, 4 * RATE) * 0.1).requires_grad_()
    track = encoder(Track(waveform, torch.ones(1, 4 * RATE, dtype=torch.bool)))
    middle = track.values.shape[1] // 2
    track.values[0, middle].square().sum().backward()
    assert waveform.grad is not None
    touched = waveform.grad[0].nonzero()[:, 0]
    first, last = int(touched[0]), int(touched[-1])
    assert 0.8 * encoder.receptive_field < (last - first + 1) / RATE <= encoder.receptive_field
    assert (first + last + 1) / 2 / RATE == pytest.approx(float(track.times[0, middle]), abs=0.05)


def test_cnn_of_a_crop_is_the_crop_far_from_its_edges() -> None:
    encoder = speech("cnn")
    waveform = torch.randn(6 * RATE) * 0.1
    step = round(RATE / encoder.rate)
    start, stop = 12 * step, 60 * step
    whole, part = (encoder(batch([x])).values[0] for x in (waveform, waveform[start:stop]))
    edge = math.ceil(encoder.receptive_field / 2 * encoder.rate)
    inner = len(part) - 2 * edge
    assert inner > 5
    expected = whole[12 + edge : 12 + edge + inner]
    torch.testing.assert_close(part[edge : edge + inner], expected, atol=1e-5, rtol=0)
    assert (part[0] - whole[12]).abs().max() > 1e-4  # at the edge it does differ


def test_loudness_and_channel_do_not_matter() -> None:
    encoder = speech("cnn")
    waveform = torch.randn(RATE)
    loud, quiet = (encoder(batch([waveform * gain])).values for gain in (0.5, 0.05))
    torch.testing.assert_close(loud, quiet, atol=1e-2, rtol=0)


# --- text ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEXT)
def test_text_alone_equals_batched(name: str) -> None:
    rows = [torch.randint(0, 50, (n,)) for n in (9, 1, 4)]
    encoder = text(name)
    alone_equals_batched(encoder, rows)
    track = batch(rows)
    track.values[~track.mask] = 10**6  # padding may hold any number
    torch.testing.assert_close(encoder(track).values, encoder(batch(rows)).values)
    assert encoder.rate is None
    times = torch.rand(track.mask.shape)
    timed = encoder(Track(track.values, track.mask, times))
    assert timed.times is times
    assert torch.equal(timed.values, encoder(track).values)
    assert encoder(track).times is None


@pytest.mark.parametrize(("name", "ordered"), [("words", False), ("cnn", True), ("transformer", True)])
def test_order_of_words(name: str, ordered: bool) -> None:
    encoder = text(name)
    ids = torch.arange(6)[None]
    mask = torch.ones(1, 6, dtype=torch.bool)
    ahead = encoder(Track(ids, mask)).values.mean(dim=1)
    back = encoder(Track(ids.flip(1), mask)).values.mean(dim=1)
    assert ((ahead - back).abs().max() > 1e-5) == ordered


@pytest.mark.parametrize("head", ["", "3 4\n"])  # GloVe has no first line, word2vec has
def test_word_vectors_of_a_file(tmp_path, head: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text(head + "joy 1 2 3 4\nwant to 9 9 9 9\nfear 5 6 7 8 \nsad -1 0 0 1e-1\n", encoding="utf-8")
    vectors, known = load_vectors(path, ["[PAD]", "▁joy", "Ġfear", "Sad", "anger"])
    assert known.tolist() == [False, True, True, True, False]
    assert vectors[1:4].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [-1, 0, 0, pytest.approx(0.1)]]
    assert vectors[0].abs().sum() == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("joy 1 2\nfear 1\n", "line 2"),
        ("joy 1 x\n", "line 1"),
        ("rage 1 2\n", "no vector for any token"),
        ("", "no vector for any token"),
        (None, "cannot read"),
    ],
)
def test_unusable_word_vectors_are_refused(tmp_path, content: str | None, told: str) -> None:
    path = tmp_path / "vectors.txt"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as caught:
        load_vectors(path, ["joy", "fear"])
    assert caught.value.code == "config_invalid"


# --- vision -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VISION)
def test_vision_alone_equals_batched(name: str) -> None:
    alone_equals_batched(vision(name), [torch.rand(n, 3, 32, 32) for n in (3, 1, 2)])


@pytest.mark.parametrize("name", VISION)
def test_pictures_keep_their_times(name: str) -> None:
    encoder, track = vision(name), batch([torch.rand(n, 3, 32, 32) for n in (3, 1)])
    times = torch.rand(track.mask.shape)
    timed = encoder(Track(track.values, track.mask, times))
    assert timed.times is times
    assert torch.equal(timed.values, encoder(track).values)
    assert encoder(track).times is None


@pytest.mark.parametrize("size", [48, 50, 112])
def test_resnet_takes_any_size(size: int) -> None:
    track = vision("resnet")(batch([torch.rand(1, 3, size, size)]))
    assert track.values.shape == (1, 1, DIM)


def test_vit_takes_its_own_size_only() -> None:
    with pytest.raises(ValueError, match="48 is not a multiple of the patch 7"):
        VisionTransformer(DIM, size=48, patch=7)


@pytest.mark.parametrize("name", VISION)
def test_lighting_and_hue_do_not_matter(name: str) -> None:
    encoder = vision(name)
    grey = torch.rand(1, 1, 1, 32, 32).expand(-1, -1, 3, -1, -1)
    mask = torch.ones(1, 1, dtype=torch.bool)
    bright, dim = (encoder(Track(x, mask)).values for x in (grey, 0.3 + 0.5 * grey))
    torch.testing.assert_close(bright, dim, atol=1e-4, rtol=0)
    flat = encoder(Track(torch.full_like(grey, 0.5), mask)).values
    assert torch.isfinite(flat).all()


# --- registry and export ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("modality", "name"), [(m, n) for m, known in ENCODERS.items() for n in known])
def test_registry_resolves(modality: str, name: str) -> None:
    module, _, attribute = ENCODERS[modality][name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), nn.Module)


class _Part(nn.Module):
    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        track = self.encoder(Track(values, mask))
        return track.values, track.mask


def onnx_equals_torch(encoder: nn.Module, tracks: list[Track]) -> None:
    """Export on the first track's sizes; the others must do with the same graph."""
    runtime = pytest.importorskip("onnxruntime")
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    part = _Part(encoder).eval()
    first = tracks[0]
    program = torch.onnx.export(
        part,
        (first.values, first.mask),
        dynamo=True,
        dynamic_shapes={"values": free, "mask": free},
        verbose=False,
    )
    assert program is not None
    session = runtime.InferenceSession(program.model_proto.SerializeToString())
    names = [put.name for put in session.get_inputs()]
    for track in tracks:
        values, mask = session.run(
            None, dict(zip(names, (track.values.numpy(), track.mask.numpy()), strict=True))
        )
        expected = encoder(track)
        np.testing.assert_array_equal(mask, expected.mask.numpy())
        np.testing.assert_allclose(values, expected.values.detach().numpy(), atol=1e-5)


def test_text_exports() -> None:
    tracks = [batch([torch.randint(0, 50, (n,)) for n in lengths]) for lengths in ((7, 3), (1,), (2, 30, 4))]
    onnx_equals_torch(text("words"), tracks)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_other_text_exports(name: str) -> None:
    tracks = [batch([torch.randint(0, 50, (n,)) for n in lengths]) for lengths in ((7, 3), (1,), (2, 30, 4))]
    onnx_equals_torch(text(name), tracks)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_speech_exports(name: str) -> None:
    lengths = ((20000, 7000), (100,), (400, 3), (48000, 1, 9000), (81234,))
    tracks = [batch([torch.randn(n) * 0.1 for n in group]) for group in lengths]
    onnx_equals_torch(speech(name), tracks)


@pytest.mark.slow
@pytest.mark.parametrize("name", VISION)
def test_vision_exports(name: str) -> None:
    tracks = [batch([torch.rand(n, 3, 32, 32) for n in group]) for group in ((3, 2), (1,), (2, 5, 1))]
    onnx_equals_torch(vision(name), tracks)
