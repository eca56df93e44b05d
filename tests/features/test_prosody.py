"""Pitch against signals whose pitch is known, and what has none."""

import numpy as np
import pytest

from affetto.errors import MediaError
from affetto.features.prosody import energy, pitch
from affetto.features.spectral import log_mel

FREQUENCIES = np.geomspace(70, 400, 8)


def voice(f0, harmonics=12, vibrato=0.03, seconds=0.8, snr=None, fundamental=1.0):
    """A stack of harmonics falling by 1/k, vibrato at 5.5 Hz: (samples, true f0 of each sample)."""
    rng = np.random.default_rng(int(f0))
    t = np.arange(int(seconds * 16000)) / 16000
    track = f0 * (1 + vibrato * np.sin(2 * np.pi * 5.5 * t))
    phase = 2 * np.pi * np.cumsum(track) / 16000
    parts = [
        (fundamental if k == 1 else 1 / k) * np.sin(k * phase + rng.uniform(0, 2 * np.pi))
        for k in range(1, harmonics + 1)
        if k * f0 < 7000
    ]
    samples = sum(parts)
    samples = samples * 0.3 / np.abs(samples).max()
    if snr is not None:
        samples = samples + rng.standard_normal(len(t)) * np.sqrt(np.mean(samples**2) / 10 ** (snr / 10))
    return samples.astype(np.float32), track


@pytest.mark.parametrize(
    "sound",
    [
        {"harmonics": 1},
        {},
        {"vibrato": 0.06},
        {"fundamental": 0.05},
        {"fundamental": 0.0},
        {"snr": 10},
    ],
    ids=["tone", "stack", "wide vibrato", "weak fundamental", "no fundamental", "10 dB noise"],
)
def test_pitch_of_known_sounds(sound):
    errors, octaves, voiced = [], [], []
    for f0 in FREQUENCIES:
        samples, track = voice(f0, **sound)
        found, probability, times = pitch(samples)
        true = track[(times * 16000).astype(int)]
        inside = slice(3, -3)  # where the frame of 50 ms lies within the sound
        heard = found[inside] > 0
        voiced.append(heard.mean())
        ratio = found[inside][heard] / true[inside][heard]
        errors.extend(np.abs(ratio - 1))
        octaves.extend(np.abs(np.log2(ratio)) > 0.5)
        assert probability[inside].mean() > 0.9
    assert np.median(errors) < 0.01
    assert np.mean(octaves) < 0.02
    assert np.mean(voiced) > 0.98


def test_a_steady_tone_is_found_to_a_tenth_of_a_per_cent():
    for f0 in FREQUENCIES:
        found, _, _ = pitch(voice(f0, vibrato=0.0)[0])
        np.testing.assert_allclose(found[3:-3], f0, rtol=1e-3)


def test_a_glide_has_no_lag():
    t = np.arange(16000) / 16000
    track = 100 * 3**t  # 1.6 octaves in a second
    found, _, times = pitch(np.sin(2 * np.pi * np.cumsum(track) / 16000).astype(np.float32) * 0.3)
    error = found[5:-5] / track[(times[5:-5] * 16000).astype(int)] - 1
    assert abs(np.median(error)) < 0.002


def unvoiced_sounds():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(48000)
    spectrum = np.fft.rfft(rng.standard_normal(48000))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    pink = np.fft.irfft(spectrum)
    return {
        "digital silence": np.zeros(48000),
        "constant": np.full(48000, 0.5),
        "white noise": 0.1 * white,
        "dither": 3e-5 * white,
        "pink noise": 0.1 * pink / pink.std(),
        "click": np.eye(1, 48000, 8000)[0],
    }


@pytest.mark.parametrize("name", unvoiced_sounds())
def test_silence_and_noise_are_unvoiced(name):
    found, probability, _ = pitch(unvoiced_sounds()[name].astype(np.float32))
    assert (found > 0).mean() <= 0.05
    assert probability.mean() < 0.25


def test_a_voice_after_a_pause_is_voiced_only_while_it_lasts():
    samples, _ = voice(140)
    found, probability, times = pitch(np.concatenate([np.zeros(8000, np.float32), samples]))
    before, during = times < 0.47, (times > 0.53) & (times < 1.27)
    assert not found[before].any()
    assert (found[during] > 0).all()
    assert probability[before].max() < 0.01 < 0.9 < probability[during].min()


def test_the_level_does_not_change_the_pitch():
    samples, _ = voice(180)
    np.testing.assert_allclose(pitch(samples * 0.01)[0], pitch(samples)[0], rtol=1e-3)


def test_one_clock_with_the_spectral_features():
    samples, _ = voice(200)
    for length in (400, 559, 560, len(samples)):
        found, probability, times = pitch(samples[:length])
        frames = len(log_mel(samples[:length]))
        assert len(found) == len(probability) == len(times) == len(energy(samples[:length])) == frames
    assert times[0] == pytest.approx(0.0125)


def test_blocks_join_without_a_seam():
    samples, _ = voice(120, seconds=5.0)
    whole = pitch(samples)[0]
    part = pitch(samples[160 * 150 :])[0]
    np.testing.assert_allclose(whole[155:], part[5:], rtol=1e-4)


def test_energy_is_the_root_mean_square():
    tone = 0.5 * np.sin(2 * np.pi * 400 * np.arange(4000) / 16000)
    np.testing.assert_allclose(energy(tone.astype(np.float32)), 0.5 / np.sqrt(2), rtol=1e-5)


@pytest.mark.parametrize("function", [pitch, energy])
def test_what_cannot_be_used_is_named(function):
    with pytest.raises(MediaError) as error:
        function(np.zeros(100, np.float32))
    assert error.value.code == "audio_too_short"
    with pytest.raises(MediaError) as error:
        function(np.full(800, np.nan, np.float32))
    assert error.value.code == "audio_not_finite"
