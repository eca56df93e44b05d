from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from affetto.errors import AffettoError, ConfigError, MediaError
from affetto.media.audio import SAMPLE_RATE, AudioLimits, decode_audio, iter_audio, probe
from affetto.media.limits import VideoLimits
from affetto.media.video import iter_frames
from affetto.media.worker import DecodingWorker

av = pytest.importorskip("av")

RATE = 48_000
# container, picture codec, sound codec
KINDS = {
    "m4a": ("ipod", None, "aac"),
    "mp4": ("mp4", "mpeg4", "aac"),
    "mov": ("mov", "mpeg4", "pcm_s16le"),
    "webm": ("webm", "libvpx", "libopus"),
    "mkv": ("matroska", "mpeg4", "flac"),
}


def movie(kind: str, samples: np.ndarray | None, seconds: float = 0.0, path=None, **options) -> bytes:
    """`samples` [n channels] at 48 kHz beside 10 pictures a second that grow lighter by 4 each; either may
    be missing. `path` is where it is written, for what needs to read what it wrote."""
    container_name, picture_codec, sound_codec = KINDS[kind]
    file = io.BytesIO()
    with av.open(str(path) if path else file, "w", format=container_name, options=options) as container:
        pictures = container.add_stream(picture_codec, rate=10) if seconds else None
        sound = container.add_stream(sound_codec, rate=RATE) if samples is not None else None
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        layout = "mono" if samples is None or samples.shape[1] == 1 else "stereo"
        if sound is not None:
            sound.layout = layout
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), "fltp", layout)
            frame.sample_rate, frame.pts = RATE, 0
            codec = sound.codec_context
            shaper = av.AudioResampler(codec.format, layout, RATE, codec.frame_size or 1024)
            for piece in (*shaper.resample(frame), *shaper.resample(None), None):
                container.mux(sound.encode(piece))
        for index in range(round(seconds * 10)):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * index, np.uint8), "rgb24")
            picture.pts = index
            container.mux(pictures.encode(picture))
        if pictures is not None:
            container.mux(pictures.encode(None))
    return path.read_bytes() if path else file.getvalue()


def code_of(call) -> str:
    with pytest.raises(AffettoError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value.code


# --- sound ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_sine_is_as_long_and_as_loud_as_it_was(make, kind):
    decoded = decode_audio(movie(kind, make.tone(RATE, 2.0, 2, 1000.0), 0.5 if kind != "m4a" else 0.0))
    assert decoded.dtype == np.float32
    assert abs(len(decoded) - 2 * SAMPLE_RATE) < 700  # codecs fill their last frame
    middle = decoded[4000:28_000]
    spectrum = np.abs(np.fft.rfft(middle))
    assert abs(spectrum.argmax() * SAMPLE_RATE / len(middle) - 1000) < 2
    # FFmpeg's own mix-down of two equal channels would make 0.5 into 0.707.
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("kind", ["mkv", "mov"])
def test_lossless_sound_is_that_of_a_wav(make, kind):
    samples = make.noise(RATE, 1.5, 2)
    expected = decode_audio(make.encode(samples, RATE))
    assert np.abs(decode_audio(movie(kind, samples, 0.5))[:24_000] - expected).max() < 1e-4


@pytest.mark.parametrize("kind", ["m4a", "mov", "webm"])
def test_a_cut_is_the_part_of_the_whole(make, kind):
    data = movie(kind, make.noise(RATE, 12.0), 0.5 if kind != "m4a" else 0.0)
    whole = decode_audio(data)
    for start, end in ((0.5, 1.25), (7.25, 9.0), (11.0, None)):
        part = whole[round(start * SAMPLE_RATE) : None if end is None else round(end * SAMPLE_RATE)]
        cut = decode_audio(data, start=start, end=end)
        assert len(cut) == len(part)
        # The resampler has no past at a cut's beginning, so a few samples at its edges differ.
        assert np.abs(cut - part)[200:-200].max() < 1e-5


def test_blocks_and_probe(make):
    data = movie("m4a", make.tone(RATE, 3.0, 2))
    assert np.array_equal(np.concatenate(list(iter_audio(data, block_seconds=0.3))), decode_audio(data))
    info = probe(data)
    assert (info.rate, info.channels, info.container) == (RATE, 2, "mp4")
    assert info.seconds == pytest.approx(3.0)
    assert probe(movie("webm", make.tone(RATE, 1.0), 0.5)).seconds is None


def test_recordings_in_fragments_are_read_to_their_end(make):
    data = movie("m4a", make.tone(RATE, 4.0), movflags="frag_keyframe+empty_moov", frag_duration="500000")
    assert data.count(b"moof") > 3
    assert len(decode_audio(data)) / SAMPLE_RATE == pytest.approx(4.0, abs=0.05)
    assert probe(data).seconds is None
    live = movie("webm", make.tone(RATE, 3.0), 0.5, live="1")
    assert len(decode_audio(live)) / SAMPLE_RATE == pytest.approx(3.0, abs=0.05)


def test_no_sound():
    assert code_of(lambda: decode_audio(movie("mp4", None, 0.5))) == "audio_empty"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.6, 0.9])
def test_cut_short(make, kind, share):
    data = movie(kind, make.noise(RATE, 3.0), 0.5 if kind != "m4a" else 0.0)
    assert code_of(lambda: decode_audio(data[: int(share * len(data))])) == "audio_truncated"


def test_cut_short_with_its_index_in_front(make, tmp_path):
    data = movie("m4a", make.noise(RATE, 3.0), path=tmp_path / "a.m4a", movflags="faststart")
    assert data.index(b"moov") < data.index(b"mdat")
    with pytest.raises(MediaError, match=r"promises 3\.\d+ s of audio and it holds 1\.\d+ s") as caught:
        decode_audio(data[: len(data) // 2])
    assert caught.value.code == "audio_truncated"


def test_damaged(make):
    data = bytearray(movie("m4a", make.noise(RATE, 3.0)))
    start = data.index(b"mdat") + 4
    data[start + 2000 : start + 12_000] = b"\x5a" * 10_000
    assert code_of(lambda: decode_audio(bytes(data))) == "audio_corrupt"


def test_an_unknown_codec(make):
    data = movie("mov", make.tone(RATE), 0.5)
    assert code_of(lambda: decode_audio(data.replace(b"sowt", b"zzzz"))) == "audio_corrupt"
    data = movie("mkv", None, 0.5).replace(b"V_MPEG4", b"V_SMELL")
    assert code_of(lambda: list(iter_frames(data, every=1.0))) == "video_corrupt"


def test_sound_without_pictures(make):
    data = movie("m4a", make.tone(RATE))
    assert code_of(lambda: list(iter_frames(data, every=1.0))) == "video_without_pictures"


def test_limits_hold(make):
    data = movie("m4a", make.noise(RATE, 3.0))
    assert code_of(lambda: decode_audio(data, limits=AudioLimits(max_seconds=2.0))) == "audio_too_long"
    live = movie("webm", make.tone(RATE, 3.0), 0.5, live="1")
    assert code_of(lambda: decode_audio(live, limits=AudioLimits(max_seconds=2.0))) == "audio_too_long"
    assert code_of(lambda: decode_audio(movie("m4a", make.tone(RATE) * 0))) == "audio_silent"


def test_the_worker_reads_it_within_its_limits(make):
    data = movie("m4a", make.noise(RATE, 2.0, 2))
    with DecodingWorker() as worker:
        assert np.array_equal(worker.decode_audio(data), decode_audio(data))


# --- pictures ---


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm", "mkv"])
def test_pictures_come_at_the_times_asked_for(kind, tmp_path):
    (tmp_path / "film").write_bytes(movie(kind, None, 3.0))
    for every in (0.1, 0.25, 0.5, 1.0):
        taken = list(iter_frames(tmp_path / "film", every=every))
        due = np.ceil(np.arange(0, 30) * every * 10 - 1e-6) / 10  # the next picture, one every 0.1 s
        expected = due[due < 2.95]
        assert [round(seconds, 2) for seconds, _ in taken] == pytest.approx(expected)
        for seconds, picture in taken:
            assert picture.dtype == np.uint8
            assert picture.shape == (48, 64, 3)
            assert abs(picture.mean() - 40 * seconds) < 6  # lighter by 4 every 0.1 s


def test_the_worker_takes_the_same_pictures(tmp_path):
    (tmp_path / "film").write_bytes(movie("mp4", None, 3.0))
    with DecodingWorker() as worker:
        for source in (tmp_path / "film", movie("webm", None, 2.0)):
            expected = list(iter_frames(source, every=0.25))
            taken = list(worker.iter_frames(source, every=0.25))
            assert [seconds for seconds, _ in taken] == [seconds for seconds, _ in expected]
            assert np.array_equal([picture for _, picture in taken], [picture for _, picture in expected])
            assert all(picture.dtype == np.uint8 for _, picture in taken)
        before = worker.pid
        cases = {
            "video_corrupt": {},
            "image_too_large": {"max_pixels": 99},
            "video_too_long": {"max_frames": 2},
        }
        for code, bounds in cases.items():
            source = b"words" if code == "video_corrupt" else tmp_path / "film"
            pictures = worker.iter_frames(source, every=0.1, limits=VideoLimits(**bounds))
            assert code_of(lambda pictures=pictures: list(pictures)) == code
        assert code_of(lambda: list(worker.iter_frames(source, every=0))) == "config_invalid"
        assert worker.pid == before


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_pictures_are_upright(make, turn):
    """The rotation that telephones write into the track's header, in place of turning the pixels."""
    file = io.BytesIO()
    scene = make.scene(48, 64)
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(scene, "rgb24")))
        container.mux(stream.encode(None))
    data = file.getvalue()

    def matrix(cosine: int, sine: int) -> bytes:
        numbers = (cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
        return b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)

    at = data.index(matrix(1, 0), data.index(b"tkhd"))
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[turn]  # clockwise quarter turns
    data = data[:at] + matrix(cosine, sine) + data[at + 36 :]
    ((_, picture),) = iter_frames(data, every=1.0)
    expected = np.rot90(scene, -turn)
    assert picture.shape == expected.shape
    assert np.abs(picture.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (VideoLimits(max_frames=5), "video_too_long"),
        (VideoLimits(max_seconds=2.0), "video_too_long"),
        (VideoLimits(max_pixels=64 * 48 - 1), "image_too_large"),
        (VideoLimits(max_bytes=99), "media_too_large"),
    ],
)
def test_bounds_of_pictures(limits, code):
    data = movie("mp4", None, 3.0)
    assert code_of(lambda: list(iter_frames(data, every=0.1, limits=limits))) == code
    exact = VideoLimits(max_frames=3, max_seconds=2.5, max_pixels=64 * 48, max_bytes=len(data))
    assert len(list(iter_frames(data, every=1.0, limits=exact))) == 3


def test_no_pictures(make):
    cut = movie("mp4", None, 1.0)[:999]
    for data in (b"", b"words", make.encode(make.tone()), cut):
        assert code_of(lambda data=data: list(iter_frames(data, every=1.0))) == "video_corrupt"


@pytest.mark.parametrize("every", [0, -1.0, float("nan")])
def test_a_senseless_interval(every):
    with pytest.raises(ConfigError, match="every="):
        next(iter_frames(b"", every=every))


def test_without_the_extra(monkeypatch):
    data = movie("mp4", None, 0.5)
    monkeypatch.setitem(sys.modules, "av", None)
    assert code_of(lambda: list(iter_frames(data, every=1.0))) == "video_unsupported"
