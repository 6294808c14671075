"""A sound file → what a speech encoder is given: log-mel features, 100 frames a second, 80 bins.

Microsoft's processing_phi4mm.py in numpy: frames of 25 ms every 10 ms with a pre-emphasis of 0.97 within each, a
Hamming window, power over triangular filters in the mel scale of HTK up to 7,690 Hz. A sound at 8 kHz has nothing above
4 kHz; other rates are refused. At 16 kHz it is transformers' Phi4MultimodalFeatureExtractor.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.pictures.conformer_layout import MELS, REDUCTION

RATES = (16_000, 8_000)  # samples a second
EMPHASIS, LOUDEST = 0.97, 32768
LOWEST_HZ, HIGHEST_HZ = 0.0, 7690.0
MOST_BYTES = 250_000_000  # of a file: two hours at 16 kHz in 16 bits
FRAMES = 4096  # at a time


@dataclass(frozen=True, eq=False)
class Sound:
    """What a speech encoder is given. features: log-mel, float32 [frames, 80]. tokens: places it takes in a prompt."""

    features: NDArray[np.float32]

    @property
    def tokens(self) -> int:
        return -(-len(self.features) // REDUCTION)


def read_sound(path: Path) -> Sound:
    """A WAV file; of several channels the mean.

    Raises DataError for one that is missing, broken, too large, too short, or of another rate.
    """
    from scipy.io import wavfile

    where = str(path)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DataError(f"{size / 1e6:,.0f} MB are more than {MOST_BYTES // 1_000_000}", where=where)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks beside the samples
            warnings.filterwarnings("error", message="Reached EOF prematurely")
            rate, samples = wavfile.read(path)
    except FileNotFoundError:
        raise DataError("there is no such sound", where=where) from None
    except Exception as error:  # scipy's, for files that are cut or of another format
        if isinstance(error, DataError):
            raise
        raise DataError(f"no WAV file, or a broken one: {error}", where=where) from None
    if rate not in RATES:
        raise DataError(
            f"{rate:,} samples a second; {' and '.join(f'{known:,}' for known in RATES)} are read",
            where=where,
            hint=f"ffmpeg -i {path.name} -ar {RATES[0]} -ac 1 OUT.wav",
        )
    if len(samples) < rate // 40:
        raise DataError(f"{len(samples)} samples are less than one frame of 25 ms", where=where)
    scaled = _scaled(samples)
    if not np.isfinite(scaled).all():
        raise DataError("a sample is no number", where=where)
    return Sound(log_mel(scaled, rate))


def _scaled(samples: NDArray) -> NDArray[np.float32]:
    """Samples [n] or [n, channels] of any type in -1 … 1, [n]."""
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return mono.astype(np.float32)


def log_mel(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Samples in -1 … 1 at one of RATES → float32 [frames, 80]."""
    length, hop, points = rate // 40, rate // 100, 512 * rate // RATES[0]
    window = np.hamming(length)
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]
    made = np.empty((len(frames), MELS), np.float32)
    for first in range(0, len(frames), FRAMES):
        some = frames[first : first + FRAMES]
        before = np.concatenate([some[:, :1], some[:, :-1]], axis=1)
        emphasized = (some - np.float32(EMPHASIS) * before) * np.float32(LOUDEST)
        spectrum = np.fft.rfft(window * emphasized, n=points).astype(np.complex64)
        power = np.zeros((len(some), 257), np.float32)
        held = points // 2 + (rate == RATES[0])  # at 8 kHz without 4 kHz itself
        power[:, :held] = np.abs(spectrum[:, :held]) ** 2
        made[first : first + FRAMES] = np.log(np.maximum(power @ _filters(), np.float32(1)))
    return made


@cache
def _filters() -> NDArray[np.float32]:
    """Triangles between points that are equally far apart in mel = 1127 ln(1 + f / 700), float32 [257, 80]."""
    bins, (low, high) = _mel(np.linspace(0, RATES[0] / 2, 257)), _mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    points = np.linspace(low, high, MELS + 2)
    up = (bins[:, None] - points[:-2]) / np.diff(points)[:-1]
    down = (points[2:] - bins[:, None]) / np.diff(points)[1:]
    made: NDArray[np.float32] = np.maximum(0, np.minimum(up, down)).astype(np.float32)
    return made


def _mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = 1127 * np.log1p(hertz / 700)
    return found
