from __future__ import annotations

import io
import sys
import time
import tracemalloc
import types

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from affetto.errors import AffettoError, ConfigError, MediaError
from affetto.media.audio import SAMPLE_RATE, AudioLimits, decode_audio, iter_audio, probe

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
WAV_SUBTYPES = (
    ("PCM_U8", 0.01),
    ("PCM_24", 1e-6),
    ("PCM_32", 1e-6),
    ("FLOAT", 1e-6),
    ("DOUBLE", 1e-6),
    ("ALAW", 0.02),
    ("ULAW", 0.02),
    ("IMA_ADPCM", 0.05),
    ("MS_ADPCM", 0.05),
)


def code_of(source, **options) -> str:
    with pytest.raises(AffettoError) as caught:
        decode_audio(source, **options)
    assert "\n" not in str(caught.value)
    return caught.value.code


def loudest_hertz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(waveform))


# --- what comes out ---


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_sine_that_was_put_in(make, kind):
    format, subtype = FORMATS[kind]
    rate = 48_000 if kind == "opus" else 44_100
    decoded = decode_audio(make.encode(make.tone(rate, 2.0, 2, 1000.0), rate, format, subtype))
    assert decoded.dtype == np.float32
    assert decoded.shape == (2 * SAMPLE_RATE,)
    assert abs(loudest_hertz(decoded) - 1000) < 2
    assert 0.48 < np.abs(decoded[2000:-2000]).max() < 0.52  # and as loud


@settings(max_examples=40, deadline=None)
@given(
    rate=st.integers(8_000, 192_000),
    channels=st.integers(1, 8),
    milliseconds=st.integers(100, 700),
    hertz=st.floats(200, 3000),
)
def test_any_rate_and_channel_layout_keeps_length_and_pitch(make, rate, channels, milliseconds, hertz):
    samples = make.tone(rate, milliseconds / 1000, channels, hertz)
    decoded = decode_audio(make.encode(samples, rate, "WAV", "FLOAT"))
    assert abs(len(decoded) - len(samples) * SAMPLE_RATE / rate) <= 0.5 + 1e-6
    assert abs(loudest_hertz(decoded) - hertz) <= SAMPLE_RATE / len(decoded)
    assert np.abs(decoded).max() <= 1.0


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_the_samples_are_those_of_the_resampler_in_one_go(make, rate):
    samples = make.noise(rate, 2.3)
    expected = (
        soxr.resample(samples[:, 0], rate, SAMPLE_RATE, quality="HQ") if rate != 16_000 else samples[:, 0]
    )
    assert np.array_equal(decode_audio(make.encode(samples, rate, "WAV", "FLOAT")), expected)


def test_channels_are_averaged(make):
    samples = make.noise(channels=4)
    decoded = decode_audio(make.encode(samples, subtype="FLOAT"))
    assert np.allclose(decoded, samples.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize(("subtype", "tolerance"), WAV_SUBTYPES)
def test_every_wav_encoding_is_read(make, subtype, tolerance):
    samples = make.tone(seconds=1.0)
    decoded = decode_audio(make.encode(samples, 16_000, "WAV", subtype))[:16_000]
    # An adaptive encoding needs a moment to find its step.
    assert np.abs(decoded - samples[:, 0])[500:].max() < tolerance


@pytest.mark.parametrize("variant", ["big-endian", "RF64", "extensible"])
def test_relatives_of_wav_are_read(make, variant):
    samples = make.tone()
    options = {"big-endian": {"endian": "BIG"}, "RF64": {"format": "RF64"}, "extensible": {"format": "WAVEX"}}
    decoded = decode_audio(make.encode(samples, **options[variant]))
    assert np.abs(decoded - samples[:, 0]).max() < 1e-4
    assert decoded.shape == (16_000,)


def test_values_over_full_scale_are_clipped(make):
    decoded = decode_audio(make.encode(make.tone(48_000) * 3, 48_000, subtype="FLOAT"))
    assert np.abs(decoded).max() == 1.0
    assert (np.abs(decoded) == 1.0).mean() > 0.5


def test_an_mp3_that_does_not_tell_its_length_is_read_to_its_end(make):
    # Loud, then silent, at a variable rate: guessed from its first frame, the length would be too short.
    samples = np.concatenate([make.noise(44_100, 1.0), make.tone(44_100, 6.0) * 0.01])
    told = make.encode(samples, 44_100, "MP3", bitrate_mode="VARIABLE", compression_level=0.0)
    assert b"Xing" in told[:200]
    untold = told[told.index(told[:2], 100) :]  # without its first frame, which tells
    assert b"Xing" not in untold[:200]
    decoded = decode_audio(untold)
    assert 7.0 <= len(decoded) / SAMPLE_RATE < 7.1
    assert abs(loudest_hertz(decoded[-16_000:]) - 440) < 2
    assert probe(untold).seconds is None


def test_an_mp3_header_that_does_not_tell_is_not_believed(make):
    samples = np.concatenate([make.noise(44_100, 1.0), make.tone(44_100, 6.0) * 0.01])
    told = make.encode(samples, 44_100, "MP3", bitrate_mode="VARIABLE", compression_level=0.0)
    flags = told.index(b"Xing") + 7
    untold = told[:flags] + bytes([told[flags] & 0xFE]) + told[flags + 1 :]
    assert 7.0 <= len(decode_audio(untold)) / SAMPLE_RATE < 7.1


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_decoding_says_nothing_on_standard_error(make, capfd, kind):
    format, subtype = FORMATS[kind]
    # An easy sound, in which an MP3 encoder saves bits for later: a decoder that starts anew misses them.
    samples = make.tone(16_000, 20.0) + 0.005 * make.noise(16_000, 20.0)
    data = make.encode(samples, 16_000, format, subtype)
    decode_audio(data)
    decode_audio(data, start=5.0)
    assert capfd.readouterr().err == ""


# --- where it comes from ---


def test_path_bytes_member_and_standard_input_are_the_same(make, tmp_path, monkeypatch):
    import zipfile

    data = make.encode(make.noise(22_050), 22_050, "FLAC")
    expected = decode_audio(data)
    path = tmp_path / "noise.flac"
    path.write_bytes(data)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("deep/noise.flac", data)
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
    for source in (path, str(path), f"{tmp_path}/all.zip#deep/noise.flac", "-", bytearray(data)):
        assert np.array_equal(decode_audio(source), expected)


@pytest.mark.parametrize("suffix", [".txt", ".raw", ".mp3", ".jpg", ""])
def test_the_suffix_does_not_matter(make, tmp_path, suffix):
    path = tmp_path / f"recording{suffix}"
    path.write_bytes(make.encode(make.tone(), format="FLAC"))
    assert len(decode_audio(path)) == 16_000


def test_tags_and_padding_before_the_audio_are_skipped(make):
    tag = b"ID3\x04\0\0" + bytes([0, 0, 2, 0]) + bytes(256)
    mp3, flac = make.encode(make.tone(), format="MP3"), make.encode(make.tone(), format="FLAC")
    for data in (tag + mp3, tag + bytes(500) + mp3, bytes(700) + mp3, tag + tag + flac):
        assert np.array_equal(decode_audio(data), decode_audio(mp3 if mp3 in data else flac))


def test_a_pipe_that_did_not_know_its_length_is_read(make):
    data = make.pcm(make.tone())
    for promised in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000):
        assert len(decode_audio(make.wav(data, promised=promised))) == 16_000


# --- cuts and blocks ---


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_is_the_part_of_the_whole(make, kind):
    format, subtype = FORMATS[kind]
    data = make.encode(make.noise(16_000, 3.0), 16_000, format, subtype)
    whole = decode_audio(data)
    for start, end in ((None, 1.25), (0.5, 1.75), (2.0, None), (0.7, 99.0)):
        part = whole[round((start or 0) * 16_000) : None if end is None else round(end * 16_000)]
        cut = decode_audio(data, start=start, end=end)
        assert cut.shape == part.shape
        assert np.abs(cut - part).max() < 1e-6


def test_a_cut_is_made_before_resampling(make):
    samples = make.noise(44_100, 2.0)
    cut = decode_audio(make.encode(samples, 44_100, subtype="FLOAT"), start=0.5, end=1.2)
    assert np.array_equal(cut, soxr.resample(samples[22_050:52_920, 0], 44_100, 16_000))


@settings(max_examples=30, deadline=None)
@given(block_seconds=st.floats(0.003, 3.0), rate=st.sampled_from([16_000, 22_050, 48_000]))
def test_blocks_joined_are_the_whole(make, block_seconds, rate):
    data = make.encode(make.noise(rate, 2.5, 2), rate, "WAV")
    blocks = list(iter_audio(data, block_seconds=block_seconds))
    assert np.array_equal(np.concatenate(blocks), decode_audio(data))
    assert {len(block) for block in blocks[:-1]} <= {max(round(block_seconds * SAMPLE_RATE), 1)}


def test_iterating_takes_the_same_memory_for_short_and_long(make):
    def peak(seconds: float) -> int:
        data = make.encode(make.tone(48_000, seconds), 48_000, "FLAC")
        tracemalloc.start()
        for _ in iter_audio(data, block_seconds=0.5):
            pass
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    assert peak(40) < 1.2 * peak(8) < 8e6


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, None), (2, 1), (1, 1), (float("nan"), None), (0, float("nan")), (float("inf"), None)],
)
def test_a_senseless_cut_is_refused(make, start, end):
    with pytest.raises(ConfigError, match="start=") as caught:
        decode_audio(make.encode(make.tone()), start=start, end=end)
    assert caught.value.code == "config_invalid"


def test_senseless_blocks_are_refused(make):
    with pytest.raises(ConfigError, match="block_seconds=0"):
        next(iter_audio(make.encode(make.tone()), block_seconds=0))


# --- probing ---


@pytest.mark.parametrize("kind", FORMATS)
def test_probe_tells_what_was_written(make, kind):
    format, subtype = FORMATS[kind]
    info = probe(make.encode(make.noise(24_000, 1.5, 2), 24_000, format, subtype))
    assert (info.rate, info.channels, info.seconds) == (24_000, 2, pytest.approx(1.5))
    assert info.container == ("ogg" if kind == "opus" else kind)


def test_probe_does_not_decode(make):
    long = make.encode(np.zeros(16_000 * 900), 16_000, "FLAC")
    started = time.process_time()
    assert probe(long).seconds == 900.0
    assert time.process_time() - started < 0.1


# --- refusals, one code each ---


def test_no_bytes(tmp_path):
    (tmp_path / "empty.wav").touch()
    assert code_of(tmp_path / "empty.wav") == "audio_empty"
    assert code_of(b"") == "audio_empty"


def test_header_only(make):
    assert code_of(make.wav(b"")) == "audio_empty"
    assert code_of(make.encode(np.zeros((0, 1)), format="FLAC")) == "audio_empty"
    assert code_of(make.wav(b"", promised=32_000)) == "audio_truncated"
    assert code_of(make.wav(b"")[:12]) == "audio_truncated"


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus", "mp3"])
@pytest.mark.parametrize("count", [12, 60, 200])
def test_compressed_header_only(make, kind, count):
    assert code_of(make.encode(make.noise(), 16_000, *FORMATS[kind])[:count]) == "audio_truncated"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_cut_short(make, kind, share):
    data = make.encode(make.noise(16_000, 8.0), 16_000, *FORMATS[kind])
    assert code_of(data[: int(len(data) * share)]) == "audio_truncated"


def test_what_is_left_of_a_cut_file_can_be_had_as_the_error_says(make):
    samples = make.noise(16_000, 4.0)
    for data in (make.encode(samples)[:64_044], make.encode(samples, format="OGG")[:-2000]):
        with pytest.raises(MediaError) as caught:
            decode_audio(data)
        end = float(str(caught.value).rpartition("end=")[2])
        assert 1.9 < end < 4
        assert len(decode_audio(data, end=end)) == pytest.approx(end * SAMPLE_RATE, abs=200)


def test_a_header_that_promises_two_gigabytes(make):
    assert code_of(make.wav(make.pcm(make.tone(seconds=0.5)), promised=2_000_000_000)) == "audio_truncated"


def test_a_few_bytes_less_are_forgiven(make):
    assert len(decode_audio(make.encode(make.tone())[:-11])) == 15_994


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"Dear diary, today I was happy.\n" * 50, "text"),
        (b"\n <!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"PK\3\4" + bytes(60), "zip"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://10.0.0.1/secret.ts\n", "playlist"),
        (b"FORM\0\0\1\0AIFFCOMM" + bytes(60), "AIFF"),
        (b".snd\0\0\0\x18" + bytes(60), "AU"),
        (b"caff\0\1\0\0" + bytes(60), "CAF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(60), "PNG"),
        (bytes(range(256)) * 4, "known kind"),
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(60), "AVI"),
    ],
)
def test_what_is_not_audio_is_named(tmp_path, text, word):
    path = tmp_path / "speech.wav"
    path.write_bytes(text)
    with pytest.raises(MediaError, match=word) as caught:
        decode_audio(path)
    assert caught.value.code == "audio_unknown_format"


@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_in_the_middle(make, kind):
    data = bytearray(make.encode(make.noise(16_000, 8.0), 16_000, *FORMATS[kind]))
    middle = len(data) // 2
    data[middle : middle + 8000] = bytes(8000)
    if kind == "wav":
        assert len(decode_audio(bytes(data))) == 8 * SAMPLE_RATE  # samples like others, nothing to notice
    else:
        assert code_of(bytes(data)) in ("audio_corrupt", "audio_truncated")


def test_damaged_headers(make):
    flac = make.encode(make.noise(16_000, 2.0), format="FLAC")
    assert code_of(flac[:12] + bytes(30) + flac[42:]) in ("audio_corrupt", "audio_rate_unsupported")
    ogg = make.encode(make.noise(16_000, 2.0), format="OGG")
    assert code_of(ogg[:40] + bytes(3000) + ogg[3040:]) == "audio_corrupt"
    assert code_of(make.wav(bytes(32_000), tag=0x1234)) == "audio_corrupt"
    assert code_of(b"ID3\x04\0\0\0\0\1\0" + bytes(4000)) == "audio_corrupt"


def test_ogg_streams_one_after_the_other_are_refused(make):
    first, second = (make.encode(make.noise(seed=seed), format="OGG") for seed in (1, 2))
    assert code_of(first + second) == "audio_corrupt"


def test_samples_of_another_scale(make):
    assert code_of(make.encode(make.tone() * 32767, subtype="FLOAT")) == "audio_corrupt"
    assert code_of(make.encode(make.tone() * 1e30, subtype="FLOAT")) == "audio_corrupt"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
def test_not_finite(make, value, channels):
    samples = make.tone(48_000, 3.0, channels)
    samples[130_000, 0] = value
    with pytest.raises(MediaError, match=r"after \d\.\d+ s") as caught:
        decode_audio(make.encode(samples, 48_000, subtype="FLOAT"))
    assert caught.value.code == "audio_not_finite"


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(16_000),
        np.full(16_000, 0.25),  # only an offset
        np.full(16_000, 1e-40),  # denormal numbers
        1e-6 * np.sin(np.arange(16_000)),  # -120 dBFS
    ],
)
def test_silent(make, samples):
    assert code_of(make.encode(samples, subtype="DOUBLE")) == "audio_silent"
    assert code_of(make.encode(samples, 48_000, subtype="FLOAT")) == "audio_silent"


def test_the_quietest_dither_is_not_silence(make):
    samples = np.random.default_rng(0).integers(-1, 2, 16_000).astype(np.int16)
    assert len(decode_audio(make.encode(samples))) == 16_000


def test_inverted_channels_are_told_from_silence(make):
    samples = make.tone(channels=2) * [1, -1]
    with pytest.raises(MediaError, match="cancel") as caught:
        decode_audio(make.encode(samples))
    assert caught.value.code == "audio_silent"


@pytest.mark.parametrize("rate", [0, 1, 1000, 7999, 192_001, 384_000, 4_000_000_000])
def test_rates_outside(make, rate):
    assert code_of(make.wav(bytes(32_000), rate=rate)) == "audio_rate_unsupported"


def test_a_flac_of_384_khz(make):
    assert code_of(make.encode(make.noise(), 384_000, "FLAC")) == "audio_rate_unsupported"


@pytest.mark.parametrize("channels", [0, 9, 32, 1024, 1025])
def test_channels_outside(make, channels):
    assert code_of(make.wav(bytes(320_000), channels=channels)) == "audio_channels_unsupported"


def test_one_sample_is_too_short(make):
    assert code_of(make.encode(make.noise()[:1])) == "audio_too_short"


@pytest.mark.parametrize("frames", [2, 800, 1599])
def test_too_short(make, frames):
    samples = make.noise()[:frames]
    assert code_of(make.encode(samples)) == "audio_too_short"
    assert len(decode_audio(make.encode(samples), limits=AudioLimits(min_seconds=0))) == frames


def test_a_cut_too_short_or_after_the_end(make):
    data = make.encode(make.noise(seconds=3.0))
    assert code_of(data, start=1.0, end=1.05) == "audio_too_short"
    assert code_of(data, start=2.95) == "audio_too_short"
    with pytest.raises(MediaError, match=r"starts at 5 s and the audio ends at 3.00 s") as caught:
        decode_audio(data, start=5.0)
    assert caught.value.code == "audio_too_short"


@pytest.mark.parametrize("kind", FORMATS)
def test_too_long(make, kind):
    data = make.encode(make.noise(16_000, 3.0), 16_000, *FORMATS[kind])
    assert code_of(data, limits=AudioLimits(max_seconds=2.0)) == "audio_too_long"
    assert code_of(data, limits=AudioLimits(max_seconds=2.0), start=0.5) == "audio_too_long"
    assert len(decode_audio(data, limits=AudioLimits(max_seconds=2.0), start=1.5)) > 0
    assert len(decode_audio(data, limits=AudioLimits(max_seconds=2.0), end=2.0)) == 2 * SAMPLE_RATE


def test_more_bytes_than_may_be_held(make, tmp_path, monkeypatch):
    data = make.encode(make.noise(seconds=2.0))
    limits = AudioLimits(max_bytes=50_000)
    assert code_of(data, limits=limits) == "media_too_large"
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
    assert code_of("-", limits=limits) == "media_too_large"
    (tmp_path / "a.wav").write_bytes(data)
    assert len(decode_audio(tmp_path / "a.wav", limits=limits)) == 32_000  # a file is read piece by piece


def test_video_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    for magic in (b"\0\0\0\x18ftypM4A ", b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3\x9fB\x86\x81\1"):
        with pytest.raises(MediaError, match=r'pip install "affetto\[video\]"') as caught:
            decode_audio(magic + bytes(100))
        assert caught.value.code == "video_unsupported"


# --- bombs ---


@pytest.fixture(scope="module")
def flac_bomb(make) -> bytes:
    """Ten minutes in a few kilobytes."""
    samples = np.zeros(600 * 44_100, np.float32)
    samples[::500_000] = 0.5
    return make.encode(samples, 44_100, "FLAC")


@pytest.mark.parametrize("told", [True, False])
def test_a_bomb_costs_little(make, flac_bomb, told):
    data = flac_bomb if told else make.flac_length(flac_bomb, 0)
    assert len(data) < 120_000
    tracemalloc.start()
    started = time.process_time()
    assert code_of(data, limits=AudioLimits(max_seconds=60.0)) == "audio_too_long"
    spent = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (2e6 if told else 60 * SAMPLE_RATE * 4 * 3)  # told: nothing is decoded at all
    assert spent < 2.0


def test_a_huge_tag_costs_nothing(make):
    tag = b"ID3\x04\0\0" + bytes([127, 127, 127, 127])  # 256 MiB, it says
    started = time.process_time()
    assert code_of(tag + make.encode(make.tone(), format="MP3")) == "audio_truncated"
    assert time.process_time() - started < 0.2
