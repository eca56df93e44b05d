"""Spectral features against a transform written out in float64, and against values of other libraries."""

import tracemalloc

import numpy as np
import pytest

from affetto.errors import ConfigError, MediaError
from affetto.features.spectral import (
    delta,
    fbank,
    frame_times,
    log_mel,
    mel_filterbank,
    mfcc,
    power_spectrogram,
)


def chirp() -> np.ndarray:
    """Half a second that any language can rebuild: a chirp, a tone in its second half, and counted noise."""
    n = np.arange(8000)
    t = n / 16000
    noise = ((n * 1103515245 + 12345) % 2**31) / 2**30 - 1
    tone = 0.1 * np.sin(2 * np.pi * 3000 * t) * (t > 0.25)
    return (0.3 * np.sin(2 * np.pi * (200 * t + 400 * t**2)) + tone + 0.01 * noise).astype(np.float32)


def reference_power(frames: np.ndarray, n_fft: int) -> np.ndarray:
    """|DFT|^2 of float64 frames [T, n <= n_fft] by the definition."""
    n, k = np.arange(frames.shape[1]), np.arange(n_fft // 2 + 1)
    return np.abs(frames @ np.exp(-2j * np.pi * np.outer(n, k) / n_fft)) ** 2


def reference_frames(waveform: np.ndarray) -> np.ndarray:
    count = (len(waveform) - 400) // 160 + 1
    return np.stack([waveform[160 * t : 160 * t + 400] for t in range(count)]).astype(np.float64)


def hann_power(waveform: np.ndarray) -> np.ndarray:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    return reference_power(reference_frames(waveform) * window, 400)


def reference_filters(n_mels: int) -> np.ndarray:
    """Slaney's filters, one number at a time."""

    def to_mel(hz: float) -> float:
        return hz / (200 / 3) if hz < 1000 else 15 + np.log(hz / 1000) / (np.log(6.4) / 27)

    def to_hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    low, high = to_mel(20.0), to_mel(8000.0)
    edges = [to_hz(low + (high - low) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    filters = np.zeros((n_mels, 201))
    for m in range(n_mels):
        left, centre, right = edges[m : m + 3]
        for k in range(201):
            hz = 40.0 * k
            height = min((hz - left) / (centre - left), (right - hz) / (right - centre))
            filters[m, k] = max(0.0, height) * 2 / (right - left)
    return filters


def test_power_is_the_transform_by_its_definition():
    waveform = chirp()
    expected = hann_power(waveform)
    power = power_spectrogram(waveform)
    assert power.dtype == np.float32
    assert power.shape == expected.shape == (48, 201)
    np.testing.assert_allclose(power, expected, atol=1e-6 * expected.max())


@pytest.mark.parametrize("n_mels", [64, 80, 128])
def test_log_mel_is_the_reference(n_mels):
    filters = reference_filters(n_mels)
    np.testing.assert_allclose(mel_filterbank(n_mels), filters, atol=1e-8)
    expected = np.log(hann_power(chirp()) @ filters.T + 1e-6)
    np.testing.assert_allclose(log_mel(chirp(), n_mels=n_mels), expected, atol=1e-3)


# Made once by librosa 0.11.0: melspectrogram(sr=16000, n_fft=400, hop_length=160, center=False, n_mels=...,
# fmin=20, fmax=8000), log(x + 1e-6); of frame 20 every (n_mels / 8)-th band.
LIBROSA_LOG_MEL = {
    64: [-11.1672, 0.8432, -10.5738, -11.9515, -9.3939, -11.1716, -11.5851, -11.0053],
    80: [-11.3011, 1.1637, -12.0337, -11.8863, -9.4423, -11.6146, -11.5981, -11.0281],
    128: [-11.3121, 1.8836, -12.2892, -11.7004, -9.8499, -12.0679, -12.0021, -11.5572],
}


@pytest.mark.parametrize("n_mels", [64, 80, 128])
def test_log_mel_is_librosas(n_mels):
    np.testing.assert_allclose(
        log_mel(chirp(), n_mels=n_mels)[20, :: n_mels // 8], LIBROSA_LOG_MEL[n_mels], atol=1e-3
    )


# Made once by librosa 0.11.0: feature.mfcc(S=the log-mel above), feature.delta(order=1 and 2), stacked. Of
# frame 24 coefficients 0, 1 and the last of values, deltas and delta-deltas; of frame 1, around which nine
# frames do not fit, the first delta and delta-delta.
LIBROSA_MFCC = {
    (13, 64): (
        [-57.9986, 5.0183, 1.1443, 0.1329, -0.4872, 0.9188, -1.2502, 0.2827, -0.1148],
        [0.0370, -0.0341],
    ),
    (20, 80): (
        [-65.5252, 5.0342, 0.1260, 0.2274, -0.5099, -0.9948, -1.4100, 0.3033, -0.0444],
        [0.0009, -0.0594],
    ),
    (40, 128): (
        [-84.1572, 5.8600, -0.4719, 0.0037, -0.5459, -0.2387, -1.8956, 0.3674, -0.0697],
        [-0.0433, -0.1459],
    ),
}


@pytest.mark.parametrize(("n_mfcc", "n_mels"), LIBROSA_MFCC)
def test_mfcc_is_librosas(n_mfcc, n_mels):
    values = mfcc(chirp(), n_mfcc=n_mfcc, n_mels=n_mels)
    assert values.shape == (48, 3 * n_mfcc)
    columns = [part * n_mfcc + c for part in range(3) for c in (0, 1, n_mfcc - 1)]
    middle, edge = LIBROSA_MFCC[n_mfcc, n_mels]
    np.testing.assert_allclose(values[24, columns], middle, atol=1e-3)
    np.testing.assert_allclose(values[1, [n_mfcc, 2 * n_mfcc]], edge, atol=1e-3)
    np.testing.assert_array_equal(
        mfcc(chirp(), n_mfcc=n_mfcc, n_mels=n_mels, deltas=False), values[:, :n_mfcc]
    )


def test_mfcc_is_an_orthonormal_transform_of_the_log_mel():
    bands = log_mel(chirp()).astype(np.float64)
    all_of_them = mfcc(chirp(), n_mfcc=64, deltas=False)
    np.testing.assert_allclose(np.linalg.norm(all_of_them, axis=1), np.linalg.norm(bands, axis=1), rtol=1e-5)
    k, m = 5, np.arange(64)
    fifth = np.sqrt(2 / 64) * (bands * np.cos(np.pi / 64 * k * (m + 0.5))).sum(axis=1)
    np.testing.assert_allclose(all_of_them[:, k], fifth, atol=1e-3)


@pytest.mark.parametrize("n_frames", [3, 4, 8, 9, 10, 30])
def test_delta_finds_slope_and_curvature_of_a_parabola(n_frames):
    t = np.arange(n_frames, dtype=np.float32)[:, None]
    values = np.concatenate([3 * t + 1, 0.5 * t**2], axis=1)
    half = min(9, n_frames - 1 + n_frames % 2) // 2
    inside = slice(half, n_frames - half)
    np.testing.assert_allclose(delta(values)[:, 0], 3, atol=1e-4)
    np.testing.assert_allclose(delta(values)[inside, 1], t[inside, 0], atol=1e-3)
    np.testing.assert_allclose(delta(values, order=2)[:, 0], 0, atol=1e-3)
    np.testing.assert_allclose(delta(values, order=2)[:, 1], 1, atol=1e-3)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_too_few_frames_have_no_derivative(n_frames):
    np.testing.assert_array_equal(delta(np.ones((n_frames, 4))), np.zeros((n_frames, 4)))
    assert mfcc(chirp()[: 400 + 160 * (n_frames - 1)]).shape == (n_frames, 39)


def kaldi_reference(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """Kaldi's computation, step by step in float64 (feature-window.cc, mel-computations.cc)."""
    frames = reference_frames(waveform) * 32768
    frames -= frames.mean(axis=1, keepdims=True)
    frames -= 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    frames *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)) ** 0.85
    power = reference_power(frames, 512)

    def mel(hz):
        return 1127 * np.log(1 + hz / 700)

    step = (mel(8000) - mel(20)) / (n_mels + 1)
    filters = np.zeros((n_mels, 257))
    for m in range(n_mels):
        left = mel(20) + m * step
        for k in range(256):
            rise = (mel(31.25 * k) - left) / step
            filters[m, k] = max(0.0, rise if rise <= 1 else 2 - rise)
    return np.log(np.maximum(power @ filters.T, np.finfo(np.float32).eps))


# Made once by kaldi-native-fbank 1.22.5, dither 0, samples times 32768, 20 to 8000 Hz: frame 20, as above.
KALDI = {
    64: [11.6610, 22.2077, 10.7996, 11.8224, 14.0301, 14.2016, 15.4903, 16.5823],
    80: [11.7554, 20.1620, 10.3504, 11.7685, 13.8513, 13.7308, 15.4340, 16.3588],
    128: [12.1831, 19.1998, 9.3692, 11.7067, 13.1056, 12.9944, 15.2836, 15.4608],
}


@pytest.mark.parametrize("n_mels", [64, 80, 128])
def test_fbank_is_kaldis(n_mels):
    values = fbank(chirp(), n_mels=n_mels)
    np.testing.assert_allclose(values, kaldi_reference(chirp(), n_mels), atol=1e-3)
    np.testing.assert_allclose(values[20, :: n_mels // 8], KALDI[n_mels], atol=1e-3)


def test_fbank_says_its_one_empty_band():
    assert np.flatnonzero((fbank(chirp(), n_mels=128) < -15.9).all(axis=0)).tolist() == [3]
    assert not (fbank(chirp(), n_mels=80) < -15.9).any()


@pytest.mark.parametrize("function", [log_mel, fbank, power_spectrogram])
def test_a_frame_depends_on_its_own_samples_only(function):
    rng = np.random.default_rng(0)
    waveform = rng.uniform(-0.5, 0.5, 16000 * 6).astype(np.float32)
    whole = function(waveform)
    for first in (0, 1, 99, 100, 101, 500):  # around the end of a block of 100 frames
        part = function(waveform[160 * first : 160 * first + 400])
        assert part.shape[0] == 1
        np.testing.assert_allclose(part[0], whole[first], rtol=1e-4, atol=1e-5)


def test_frames_are_counted_without_padding():
    for samples, frames in ((400, 1), (559, 1), (560, 2), (16000, 98)):
        waveform = chirp().repeat(2)[:samples]
        assert len(log_mel(waveform)) == frames
    np.testing.assert_allclose(frame_times(3), [0.0125, 0.0225, 0.0325])


def test_other_float_types_and_strides_are_read_alike():
    waveform = chirp()
    expected = log_mel(waveform)
    np.testing.assert_array_equal(log_mel(waveform.astype(np.float64)), expected)
    np.testing.assert_array_equal(log_mel(np.repeat(waveform, 2)[::2]), expected)
    before = waveform.copy()
    log_mel(waveform)
    np.testing.assert_array_equal(waveform, before)


def test_silence_is_the_floor_and_finite():
    silence = np.zeros(800, np.float32)
    np.testing.assert_allclose(log_mel(silence), np.log(1e-6), rtol=1e-6)
    np.testing.assert_allclose(fbank(silence), np.log(np.finfo(np.float32).eps), rtol=1e-6)
    assert np.isfinite(mfcc(silence)).all()


def test_memory_beside_the_answer_does_not_grow():
    waveform = np.zeros(16000 * 300, np.float32)
    log_mel(waveform[:16000])
    tracemalloc.start()
    features = log_mel(waveform)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - features.nbytes < 3_000_000


@pytest.mark.parametrize("function", [log_mel, fbank, mfcc, power_spectrogram])
def test_what_cannot_be_used_is_named(function):
    with pytest.raises(MediaError, match="399 samples") as error:
        function(np.zeros(399, np.float32))
    assert error.value.code == "audio_too_short"
    for bad in (np.nan, np.inf, -np.inf, 1e20):
        waveform = chirp()
        waveform[4321] = bad
        with pytest.raises(MediaError) as error:
            function(waveform)
        assert error.value.code == "audio_not_finite"
    for wrong in (np.zeros((2, 800), np.float32), np.zeros(800, np.int16)):
        with pytest.raises(ValueError, match="expected floats"):
            function(wrong)


@pytest.mark.parametrize("n_mels", [-1, 0, 400])
@pytest.mark.parametrize("function", [log_mel, fbank])
def test_bands_that_do_not_fit_are_refused(function, n_mels):
    with pytest.raises(ConfigError) as error:
        function(chirp(), n_mels=n_mels)
    assert error.value.code == "option_invalid"


@pytest.mark.parametrize("n_mfcc", [0, 65])
def test_coefficients_that_do_not_exist_are_refused(n_mfcc):
    with pytest.raises(ConfigError) as error:
        mfcc(chirp(), n_mfcc=n_mfcc)
    assert error.value.code == "option_invalid"


@pytest.mark.parametrize("hz", [100, 220, 261.63, 440, 1000, 3000])
@pytest.mark.parametrize("n_mels", [64, 128])
def test_full_scale_tones_keep_their_quiet_bands(hz, n_mels):
    tone = np.sin(2 * np.pi * hz * np.arange(4000) / 16000).astype(np.float32)
    expected = np.log(hann_power(tone) @ reference_filters(n_mels).T + 1e-6)
    np.testing.assert_allclose(log_mel(tone, n_mels=n_mels), expected, atol=1e-3)
