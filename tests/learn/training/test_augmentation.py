import numpy as np
import pytest

from affetto.learn.config import AugmentConfig
from affetto.learn.training import augmentation as aug

RATE = 16000


def tone(pitch=440.0, seconds=1.0):
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(int(RATE * seconds)) / RATE)).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def decibels(signal, noise):
    return 10 * np.log10(np.mean(np.square(signal)) / np.mean(np.square(noise)))


def voices(generator):
    return tone(float(generator.uniform(100, 300)), 0.5)


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0, 30.0])
def test_noise_is_added_at_the_stated_ratio(snr):
    clean = tone()
    noisy = aug.add_noise(clean, aug.coloured_noise("pink", len(clean), rng()), snr)
    assert decibels(clean, noisy - clean) == pytest.approx(snr, abs=0.1)
    assert noisy.dtype == np.float32


def test_noise_and_silence():
    silence, noise = np.zeros(100, np.float32), np.ones(100, np.float32)
    np.testing.assert_array_equal(aug.add_noise(silence, noise, 10.0), silence)
    np.testing.assert_array_equal(aug.add_noise(noise, silence, 10.0), noise)


def test_colours_have_their_spectra():
    def slope(colour):  # dB per octave of the power spectrum, 100 to 6400 Hz
        power = np.abs(np.fft.rfft(aug.coloured_noise(colour, 60 * RATE, rng()))) ** 2
        octaves = [power[60 * low : 120 * low].mean() for low in (100 * 2**k for k in range(6))]
        return np.polyfit(range(6), 10 * np.log10(octaves), 1)[0]

    assert slope("white") == pytest.approx(0.0, abs=0.2)
    assert slope("pink") == pytest.approx(-3.01, abs=0.2)


def test_babble_is_several_voices():
    mixture = aug.babble(voices, RATE, rng())
    assert mixture.shape == (RATE,)
    peaks = np.abs(np.fft.rfft(mixture * np.hanning(RATE)))
    loud = [
        k for k in range(90, 310) if peaks[k] == peaks[k - 8 : k + 9].max() and peaks[k] > 0.1 * peaks.max()
    ]
    assert len(loud) >= 3


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch(factor):
    faster = aug.change_speed(tone(500.0), factor)
    assert len(faster) == pytest.approx(RATE / factor, abs=2)
    peak = np.abs(np.fft.rfft(faster[:8000], 16000)).argmax()
    assert peak == pytest.approx(500 * factor, abs=2)


def test_reverberation_keeps_length_and_power_and_adds_a_tail():
    click = np.zeros(RATE, np.float32)
    click[100] = 1.0
    wet = aug.reverberate(click, 0.3, 0.5, rng())
    assert wet.shape == click.shape
    assert np.mean(wet**2) == pytest.approx(np.mean(click**2), rel=1e-3)
    assert np.abs(wet[:100]).max() < 1e-6  # nothing comes before the click
    energy = [np.sum(wet[start : start + 1600] ** 2) for start in range(101, 4901, 1600)]
    assert energy[0] > energy[1] > energy[2] > 0


def test_crop():
    wave = np.arange(1000, dtype=np.int16)
    cropped, first = aug.random_crop(wave, 300, rng())
    assert len(cropped) == 300
    assert first > 0
    np.testing.assert_array_equal(cropped, np.arange(first, first + 300))
    whole, first = aug.random_crop(wave, 2000, rng())
    np.testing.assert_array_equal(whole, wave)
    assert first == 0


def test_augmented_speech_is_bounded_and_no_longer_than_asked():
    stored = np.round(tone(seconds=3.0) * 32767).astype(np.int16)
    config = AugmentConfig(speed_probability=1.0, noise_probability=1.0, reverb_probability=1.0, gain_db=30.0)
    for seed in range(20):
        wave, _ = aug.augment_speech(stored, RATE, config, rng(seed), voices)
        assert wave.dtype == np.float32
        assert len(wave) == pytest.approx(RATE, abs=2)
        assert len(wave) <= RATE
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() <= 1.0


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.25])
def test_a_click_is_heard_where_the_stretch_says(speed):
    """A click can be found again in what is heard: the waveform itself tells the time."""
    config = AugmentConfig(
        speed_probability=1.0,
        speed_range=(speed, speed),
        noise_probability=0,
        reverb_probability=0,
        gain_db=0,
    )
    at, heard = 1.7, 0
    stored = np.zeros(3 * RATE, np.int16)
    stored[round(at * RATE)] = 32000
    for seed in range(20):
        wave, stretch = aug.augment_speech(stored, RATE, config, rng(seed), voices)
        assert stretch.speed == speed
        expected = float(stretch.times(np.array([at], np.float32))[0])
        inside = 0.01 < expected < len(wave) / RATE - 0.01
        heard += inside
        if inside:
            assert np.abs(wave).argmax() / RATE == pytest.approx(expected, abs=2 / RATE)
        elif not -0.01 < expected < len(wave) / RATE + 0.01:
            assert np.abs(wave).max() < 0.05
    assert 0 < heard < 20


def test_augmentation_switched_off_changes_nothing():
    stored = np.round(tone() * 32767).astype(np.int16)
    off = AugmentConfig(speed_probability=0, noise_probability=0, reverb_probability=0, gain_db=0)
    wave, stretch = aug.augment_speech(stored, RATE, off, rng(), voices)
    assert stretch == aug.Stretch(0.0, 1.0, len(stored) / RATE)
    np.testing.assert_array_equal(wave, stored.astype(np.float32) / 32768)
    off = AugmentConfig(flip=0, image_shift=0, image_erase=0, image_contrast=0)
    image = rng().random((3, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(aug.augment_image(image, off, rng()), image)


def test_augmentation_is_a_function_of_its_generator():
    stored, config = np.round(tone() * 32767).astype(np.int16), AugmentConfig()
    image = rng().random((3, 16, 16)).astype(np.float32)
    for seed in range(5):
        runs = [aug.augment_speech(stored, RATE // 2, config, rng(seed), voices) for _ in range(2)]
        (first, stretch), (again, same) = runs
        np.testing.assert_array_equal(first, again)
        assert stretch == same
        first, again = (aug.augment_image(image, config, rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first, again)


def test_dropped_words_are_unknown_and_special_tokens_stay():
    ids = np.array([2] + [7] * 999)
    dropped = aug.drop_words(ids, 0.3, 1, rng(), special=(0, 1, 2, 3))
    assert dropped[0] == 2
    assert set(dropped[1:]) == {1, 7}
    assert (dropped == 1).mean() == pytest.approx(0.3, abs=0.05)


def test_shift_repeats_the_edge():
    image = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None], (3, 4, 4))
    np.testing.assert_array_equal(aug.shift_image(image, 1, 0)[0, :, 0], [0, 0, 1, 2])
    np.testing.assert_array_equal(aug.shift_image(image, -2, 0)[0, :, 0], [2, 3, 3, 3])
    sideways = aug.shift_image(image.transpose(0, 2, 1), 0, 1)
    np.testing.assert_array_equal(sideways[0, 0], [0, 0, 1, 2])


def test_a_turn_of_a_quarter_is_a_transposition():
    image = rng().random((3, 9, 9)).astype(np.float32)
    np.testing.assert_allclose(aug.turn_image(image, 0.0, 1.0), image, atol=1e-6)
    np.testing.assert_allclose(aug.turn_image(image, 90.0, 1.0), np.rot90(image, 1, axes=(1, 2)), atol=1e-5)
    larger = aug.turn_image(image, 0.0, 2.0)
    np.testing.assert_allclose(larger[:, ::2, ::2], image[:, 2:7, 2:7], atol=1e-5)


def test_erased_patch_is_the_mean_and_the_image_is_not_written_to():
    image = rng().random((3, 30, 30)).astype(np.float32)
    before = image.copy()
    erased = aug.erase_patch(image, rng())
    changed = (erased != image).all(axis=0)
    assert 9 <= changed.sum() <= 100
    np.testing.assert_allclose(erased[:, changed], image.mean())
    np.testing.assert_array_equal(image, before)


def test_contrast_stays_in_range():
    image = np.array([[[0.0, 0.5, 1.0]]], np.float32).repeat(3, axis=0)
    np.testing.assert_allclose(aug.change_contrast(image, 0.5, 0.1)[0, 0], [0.35, 0.6, 0.85])
    assert aug.change_contrast(image, 3.0, 0.5).max() == 1.0


def test_blur_spreads_a_point_as_a_gaussian():
    point = np.zeros((3, 31, 31), np.float32)
    point[:, 15, 15] = 1.0
    blurred = aug.blur_image(point, 1.5)
    assert blurred.sum() == pytest.approx(3.0, rel=1e-5)
    down, right = np.mgrid[-15:16, -15:16]
    expected = np.exp(-(down**2 + right**2) / (2 * 1.5**2))
    np.testing.assert_allclose(blurred[0], expected / expected.sum(), atol=2e-4)
    np.testing.assert_allclose(aug.blur_image(np.full((3, 9, 9), 0.3, np.float32), 4.0), 0.3, rtol=1e-5)
    assert aug.blur_image(point, 0.0) is point
    config = AugmentConfig(flip=0, image_shift=0, image_erase=0, image_contrast=0, image_blur=2.0)
    assert aug.augment_image(point, config, rng()).max() < 0.9
