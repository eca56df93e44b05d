"""Spectral features of speech: log-mel, filter bank energies and MFCC, from 16 kHz samples.

One clock for all of them: windows of 25 ms (400 samples) every 10 ms (160 samples), no padding, so that frame
`t` covers the samples [160 t, 160 t + 400) and its centre is `frame_times(T)[t]`. `log_mel` is the front end
that speech encoders carry inside their graph; `fbank` and `mfcc` serve other people's models and studies.

Frames are views onto the waveform and are transformed in blocks, so the memory beside the answer is constant:
an hour of audio costs what ten seconds cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from affetto.errors import ConfigError, MediaError
from affetto.features.fourier import FREQUENCIES, MOST_FRAMES, power, scratch

Floats = NDArray[np.float32]

RATE = 16000  # samples per second
WINDOW = 400  # samples in a frame: 25 ms
HOP = 160  # samples from a frame to the next: 10 ms
F_MIN, F_MAX = 20.0, 8000.0  # Hz, the range of the mel filters
FLOOR = 1e-6  # added to mel energies before the logarithm

_KALDI_FFT = 512  # the next power of two above WINDOW
_KALDI_SCALE = 32768.0  # Kaldi reads 16-bit samples as numbers from -32768 to 32767
_PREEMPHASIS = 0.97
_DELTA_WIDTH = 9
# OpenBLAS computes products of up to this many multiplications in the calling thread. Larger ones wake its
# pool, which gains nothing here and was measured to cost ten times more on a busy machine.
_ONE_THREAD = 262144
_LOUDEST = 1e12


def frame_times(n_frames: int) -> Floats:
    """Centres of the first `n_frames` frames, in seconds: [T]."""
    return ((np.arange(n_frames) * HOP + WINDOW / 2) / RATE).astype(np.float32)


def check_waveform(waveform: np.ndarray) -> Floats:
    """The waveform as contiguous float32 [N], finite and long enough for one frame.

    Raises ValueError for what is no one-dimensional array of floats; MediaError `audio_too_short` and
    `audio_not_finite`.
    """
    samples = np.asarray(waveform)
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise ValueError(
            f"expected floats [N] in [-1, 1] at {RATE} Hz, got {samples.dtype} {list(samples.shape)}"
        )
    if samples.size < WINDOW:
        raise MediaError(
            "audio_too_short",
            f"{samples.size} samples at {RATE} Hz are shorter than one frame: give at least {WINDOW} (25 ms)",
        )
    # NaN passes through minimum and maximum; a loudness whose square overflows is no better than infinity.
    if not max(-samples.min(), samples.max()) < _LOUDEST:
        raise MediaError(
            "audio_not_finite", "the samples hold NaN, infinite or absurdly large values: expected [-1, 1]"
        )
    return np.ascontiguousarray(samples, dtype=np.float32)


def mel_filterbank(
    n_mels: int, n_fft: int = WINDOW, rate: int = RATE, f_min: float = F_MIN, f_max: float = F_MAX
) -> Floats:
    """Triangular mel filters of equal area on the scale of Slaney's Auditory Toolbox (1998).

    The scale is linear up to 1 kHz (200/3 Hz per mel) and logarithmic above (27 steps from 1 to 6.4 kHz);
    each filter is scaled to an area of one. Same as librosa's default (`htk=False, norm="slaney"`).

    Returns float32 [n_mels, n_fft // 2 + 1]. Raises ConfigError `option_invalid` when a filter is so narrow
    that no frequency of the transform falls into it.
    """
    edges = _slaney_to_hz(np.linspace(_hz_to_slaney(f_min), _hz_to_slaney(f_max), max(n_mels, 0) + 2))
    bins = np.arange(n_fft // 2 + 1) * (rate / n_fft)
    weights = _triangles(edges, bins) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    if n_mels < 1 or not weights.any(axis=1).all():
        raise ConfigError(
            "option_invalid",
            f"{n_mels} mel bands do not fit {n_fft // 2 + 1} frequencies up to {f_max:g} Hz: use 1 to 128",
        )
    return weights.astype(np.float32)


def power_spectrogram(waveform: np.ndarray) -> Floats:
    """Squared magnitude of the 400-point transform under a periodic Hann window: [N] -> [T 201].

    Raises as `log_mel` does.
    """
    samples = check_waveform(waveform)
    spectrogram = np.empty((_n_frames(samples), WINDOW // 2 + 1), np.float32)
    for part, frames in _blocks(samples):
        spectrogram[part] = _fft_power(frames * _HANN, WINDOW)
    return spectrogram


def log_mel(waveform: np.ndarray, *, n_mels: int = 64) -> Floats:
    """Natural logarithm of the mel energies plus 1e-6: [N] -> [T n_mels].

    Periodic Hann window, 400-point power spectrum, `mel_filterbank` from 20 to 8000 Hz. Equal to
    `log(librosa.feature.melspectrogram(center=False, ...) + 1e-6)` to 3e-4 on speech (74 clips of three
    corpora) and to 1.3e-3 on pure tones of full scale, which leave bands at the limit of single precision.

    Raises MediaError `audio_too_short` (under 25 ms) and `audio_not_finite`, ConfigError `option_invalid`.
    """
    samples = check_waveform(waveform)
    energies = _mel_energies(samples, _log_mel_bank(n_mels), partial(power, window=_HANN, scratch=scratch()))
    energies += np.float32(FLOOR)
    return np.log(energies, out=energies)


def fbank(waveform: np.ndarray, *, n_mels: int = 80) -> Floats:
    """Log filter bank energies as Kaldi defines them (Povey et al. 2011): [N] -> [T n_mels].

    What `fbank` means in Kaldi, WeNet, FunASR or icefall, and not what `log_mel` is: samples on the 16-bit
    scale; in each frame the mean is taken off, a pre-emphasis of 0.97 applied, a "povey" window (symmetric
    Hann to the power 0.85) and zeros up to 512 points; triangles of height one on the HTK mel scale, 20 to
    8000 Hz; natural logarithm, floored at 1.19e-7. Same clock as `log_mel`; no dither, so the same samples
    always give the same values. Kaldi given samples in [-1, 1] answers 2 log(32768) = 20.79 less.

    With 128 bands the fourth filter is narrower than the 31.25 Hz between the transform's frequencies, stays
    empty and sits at the floor (Kaldi refuses such a bank, its ports keep it); `log_mel` has no such gap.

    Raises as `log_mel` does.
    """
    samples = check_waveform(waveform)
    energies = _mel_energies(samples, _kaldi_bank(n_mels), _kaldi_power)
    np.maximum(energies, np.finfo(np.float32).eps, out=energies)
    return np.log(energies, out=energies)


def mfcc(waveform: np.ndarray, *, n_mfcc: int = 13, n_mels: int = 64, deltas: bool = True) -> Floats:
    """Mel-frequency cepstral coefficients (Davis & Mermelstein 1980): [N] -> [T n_mfcc] or [T 3 n_mfcc].

    The first `n_mfcc` terms of the orthonormal DCT-II of `log_mel` (natural logarithm; multiply by 4.343 for
    the decibels that librosa starts from). With `deltas` they are followed by their first and second
    derivatives by regression, see `delta`.

    Raises as `log_mel` does, and ConfigError `option_invalid` when `n_mfcc` is not in 1..n_mels.
    """
    if not 1 <= n_mfcc <= n_mels:
        raise ConfigError("option_invalid", f"{n_mfcc} cepstral coefficients: use 1 to {n_mels} (n_mels)")
    coefficients = log_mel(waveform, n_mels=n_mels) @ _dct(n_mfcc, n_mels).T
    if not deltas:
        return coefficients
    return np.concatenate([coefficients, delta(coefficients), delta(coefficients, order=2)], axis=1)


def delta(features: np.ndarray, *, order: int = 1) -> Floats:
    """Derivative of each feature over time: [T D] -> [T D], in units per frame (per frame squared).

    A polynomial of degree `order` (1 or 2) is fitted by least squares to the nine frames around each frame
    and derived there (Savitzky & Golay 1964); the first and last four frames repeat the nearest value, as in
    `librosa.feature.delta`. Of fewer than nine frames the largest odd number is used; fewer than three have
    no derivative and give zeros.
    """
    values = np.asarray(features, dtype=np.float32)
    width = min(_DELTA_WIDTH, len(values) - 1 + len(values) % 2)
    if width < 3:
        return np.zeros_like(values)
    half = width // 2
    windows = sliding_window_view(values, width, axis=0)
    inner = np.einsum("tdw,w->td", windows, _derivative_weights(width, order))
    return np.pad(inner, ((half, half), (0, 0)), mode="edge")


def _n_frames(samples: Floats) -> int:
    return (samples.size - WINDOW) // HOP + 1


def _blocks(samples: Floats) -> Iterator[tuple[slice, Floats]]:
    """Yield (which frames, frames [n WINDOW]) of up to MOST_FRAMES frames; views, not to be written to."""
    frames = sliding_window_view(samples, WINDOW)[::HOP]
    for start in range(0, len(frames), MOST_FRAMES):
        part = slice(start, min(start + MOST_FRAMES, len(frames)))
        yield part, frames[part]


def _mel_energies(samples: Floats, bank: Floats, power_of: Callable[[Floats], Floats]) -> Floats:
    """Mel energies [T n_mels] through a bank [n_bins n_mels]; power_of: frames [n WINDOW] -> [n n_bins]."""
    n_bins, n_mels = bank.shape
    rows = max(1, _ONE_THREAD // bank.size)
    energies = np.empty((_n_frames(samples), n_mels), np.float32)
    for part, frames in _blocks(samples):
        found, out = power_of(frames), energies[part]
        whole = len(found) // rows * rows
        np.matmul(found[:whole].reshape(-1, rows, n_bins), bank, out=out[:whole].reshape(-1, rows, n_mels))
        np.matmul(found[whole:], bank, out=out[whole:])
    return energies


@lru_cache(maxsize=8)
def _log_mel_bank(n_mels: int) -> Floats:
    """`mel_filterbank` as [200 n_mels], frequencies in the order of `fourier.power`.

    What is left out is 8000 Hz, where the last filter has come down to zero.
    """
    bank = np.ascontiguousarray(mel_filterbank(n_mels)[:, FREQUENCIES].T)
    bank.flags.writeable = False
    return bank


_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)
_POVEY = ((0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))) ** 0.85).astype(np.float32)


def _kaldi_power(frames: Floats) -> Floats:
    centred = (frames - frames.mean(axis=1, keepdims=True)) * np.float32(_KALDI_SCALE)
    emphasised = np.empty_like(centred)
    emphasised[:, 1:] = centred[:, 1:] - np.float32(_PREEMPHASIS) * centred[:, :-1]
    emphasised[:, 0] = centred[:, 0] * np.float32(1 - _PREEMPHASIS)
    return _fft_power(emphasised * _POVEY, _KALDI_FFT)


def _fft_power(frames: Floats, n_fft: int) -> Floats:
    magnitude = np.abs(np.fft.rfft(frames, n_fft, axis=1)).astype(np.float32, copy=False)
    return np.multiply(magnitude, magnitude, out=magnitude)


def _triangles(edges: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Filters of height one from edges [n + 2]: rising to the next edge, falling to the one after it."""
    widths = np.diff(edges)
    ramps = points[None, :] - edges[:, None]
    rising = ramps[:-2] / widths[:-1, None]
    falling = -ramps[2:] / widths[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


def _kaldi_bank(n_mels: int) -> Floats:
    """Kaldi's filters as [n_bins n_mels]."""
    if not 1 <= n_mels <= 128:
        raise ConfigError("option_invalid", f"{n_mels} mel bands: use 1 to 128")
    low, high = _hz_to_htk(np.array([F_MIN, F_MAX]))
    edges = np.linspace(low, high, n_mels + 2)
    bins = _hz_to_htk(np.arange(_KALDI_FFT // 2 + 1) * (RATE / _KALDI_FFT))
    return np.ascontiguousarray(_triangles(edges, bins).T, dtype=np.float32)


def _hz_to_htk(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hz / 700.0)


def _hz_to_slaney(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000)) / float(np.log(6.4))


def _slaney_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


def _dct(n_out: int, n_in: int) -> Floats:
    """Orthonormal DCT-II as a matrix [n_out, n_in]."""
    angles = np.pi / n_in * np.outer(np.arange(n_out), np.arange(n_in) + 0.5)
    matrix = np.sqrt(2 / n_in) * np.cos(angles)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _derivative_weights(width: int, order: int) -> Floats:
    """Weights [width] of the `order`-th derivative of a polynomial of that degree fitted to the frames."""
    half = width // 2
    powers = np.arange(-half, half + 1.0)[:, None] ** np.arange(order + 1)
    # d^n/dx^n of the fitted c x^n is n! c; both factorials in use equal the order itself.
    return (order * np.linalg.pinv(powers)[order]).astype(np.float32)
