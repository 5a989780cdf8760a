"""What is measured of the resampler's profiles, as the tables of docs/resampling.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

import ossicle
from ossicle.audio.resampling import Engine, Quality

Array = npt.NDArray[np.float64]
Resample = Callable[[Array, int, int], npt.NDArray[np.floating]]

PAIRS = [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (44_100, 16_001)]
# Where each profile's pass band ends, and the dB that docs and docstrings promise.
PASS_BANDS: dict[Quality, float] = {"fast": 0.90, "high": 0.95, "best": 0.98}
REJECTIONS = {"fast": 95, "high": 120, "best": 140}


def ours(quality: Quality, engine: Engine = "native") -> Resample:
    return lambda waveform, source, target: ossicle.resample(
        waveform, source, target, quality=quality, engine=engine
    )


def torchaudio_sinc(width: int, rolloff: float, beta: float | None) -> Resample:
    """torchaudio.functional.resample by its documented formula: a windowed sinc over `width` zero
    crossings at `rolloff` of the lower rate, in a Hann window, or a Kaiser one of `beta`."""

    def kernel(place: Array) -> Array:
        window = np.cos(np.pi * place / width / 2) ** 2
        if beta is not None:
            inside = np.sqrt(np.clip(1 - (place / width) ** 2, 0, None))
            window = np.i0(beta * inside) / np.i0(beta)
        return np.where(np.abs(place) < width, np.sinc(place) * window, 0)

    def resample(waveform: Array, source: int, target: int) -> Array:
        divisor = math.gcd(source, target)
        step, phases = source // divisor, target // divisor
        cutoff = min(step, phases) * rolloff / step  # zero crossings in an input sample
        reach = math.ceil(width / cutoff) + 1
        frames = -(-len(waveform) * phases // step)
        padded = np.pad(np.asarray(waveform, np.float64), (reach, reach + step))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
        result = np.zeros(frames)
        for phase in range(min(phases, frames)):
            places = np.arange(phase, frames, phases) * step
            whole, behind = places // phases, places[0] % phases / phases
            taps = kernel((np.arange(-reach, reach + 1) - behind) * cutoff) * cutoff
            result[phase::phases] = windows[whole] @ taps
        return result

    return resample


OTHERS: dict[str, Resample] = {
    "soxr HQ": lambda waveform, source, target: soxr.resample(waveform, source, target, "HQ"),
    "soxr VHQ": lambda waveform, source, target: soxr.resample(waveform, source, target, "VHQ"),
    "torchaudio": torchaudio_sinc(6, 0.99, None),
    "torchaudio, kaiser_best": torchaudio_sinc(64, 0.9475937167399596, 14.769656459379492),
}


def tones(frequencies: Array, rate: int, seconds: int) -> Array:
    """Sines of whole Hz, with a phase of their own each, of 1 together at most."""
    time = np.arange(seconds * rate) / rate
    parts = (np.sin(2 * np.pi * f * time + k * k * 0.7) for k, f in enumerate(frequencies))
    return sum(parts, np.zeros(len(time))) / len(frequencies)


def speech_like(rate: int) -> Array:
    """Two seconds of a buzz of 120 Hz through gliding formants, syllables, and noise between them.

    Pitch and formants are those of textbooks; all of it ends below 3.8 kHz, as a telephone does.
    """
    time = np.arange(2 * rate) / rate
    total = np.zeros(len(time))
    for harmonic in range(1, 31):
        hz = 120.0 * harmonic
        level = sum(
            gain / (1 + ((hz - centre - glide * np.sin(2 * np.pi * 1.3 * time)) / 90) ** 2)
            for centre, glide, gain in [(500, 200, 1.0), (1500, 400, 0.5), (2500, 200, 0.25)]
        )
        total += level * np.sin(2 * np.pi * hz * time + harmonic**2)
    hiss = np.random.default_rng(5).integers(2_000, 3_800, 40)
    total += 0.3 * np.sin(2 * np.pi * 2 * time).clip(0) ** 4 * tones(hiss.astype(float), rate, 2)
    syllables = np.sin(np.pi * time / 2) ** 2 * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * time))
    return 0.3 * syllables * total


def decibels(noise: npt.NDArray[np.floating], signal: npt.NDArray[np.floating]) -> float:
    power = np.mean(np.square(noise, dtype=np.float64)) / np.mean(np.square(signal))
    return float(10 * np.log10(max(power, 1e-30)))


@dataclass
class Measured:
    """One resampler on one pair of rates.

    Attributes:
        flat: dB by which the gain strays at most, up to the end of the band.
        image: dB of the strongest line that does not belong there, beside a tone of full scale.
        snr: dB between a multitone up to the end of the band and what is wrong with it.
    """

    flat: float
    image: float
    snr: float


def measure(resample: Resample, source: int, target: int, band: float) -> Measured:
    """The second of three seconds stands for a signal without ends: its bins are whole Hz."""
    nyquist = min(source, target) / 2
    frequencies = np.unique(np.round(np.linspace(0.002, band, 41) * nyquist))
    got = resample(tones(frequencies, source, 3), source, target)[target : 2 * target]
    ideal = tones(frequencies, target, 3)[target : 2 * target]
    bins = frequencies.astype(int)
    gains = np.abs(np.fft.rfft(got))[bins] / np.abs(np.fft.rfft(ideal))[bins]
    return Measured(
        flat=float(np.abs(20 * np.log10(gains)).max()),
        image=max(_image(resample, source, target, hz) for hz in _probes(source, target, band)),
        snr=-decibels(got - ideal, ideal),
    )


def _probes(source: int, target: int, band: float) -> Array:
    """Tones that the result must not hold, or where the rate rises, whose images it must not."""
    if source > target:
        return np.round(np.linspace(1.002, min(source / target * 0.98, 3), 12) * target / 2)
    return np.round(np.linspace(0.05, band, 12) * source / 2)


def _image(resample: Resample, source: int, target: int, hz: float) -> float:
    got = resample(tones(np.array([hz]), source, 3), source, target)[target : 2 * target]
    lines = np.abs(np.fft.rfft(got)) / (target / 2)
    if hz < target / 2:
        lines[int(hz)] = 0
    return float(20 * np.log10(max(lines.max(), 1e-30)))


def distance(one: Resample, other: Resample, waveform: Array, rates: tuple[int, int]) -> Array:
    """RMS and largest difference, away from the ends."""
    first, second = one(waveform, *rates), other(waveform, *rates)
    common = min(len(first), len(second))
    edge = rates[1] // 5
    off = (first[:common].astype(np.float64) - second[:common])[edge : common - edge]
    return np.array([np.sqrt(np.mean(off**2)), np.abs(off).max()])


def _least(value: float, step: int = 5) -> str:
    """At least so many dB, in steps that no machine's rounding crosses."""
    return f"{math.floor(value / step) * step}"


def _rows(pair: tuple[int, int]) -> list[str]:
    source, target = pair
    lines = []
    names = {f"`{name}`": ours(name) for name in PASS_BANDS}
    names |= {f'`{name}`, engine="rubato"': ours(name, "rubato") for name in PASS_BANDS} | OTHERS
    bands = {f"`{name}`": band for name, band in PASS_BANDS.items()}
    for name, resample in names.items():
        if name.startswith("torchaudio") and math.gcd(*pair) < 10:
            continue  # its formula has a row of taps for each of 16,001 phases
        band = bands.get(name, 0.90)
        found = measure(resample, source, target, band)
        flat = "0.001" if found.flat <= 0.001 else f"{found.flat:.2g}"
        cells = [f"{source:,} to {target:,}", name, f"{band:.2f}", flat]
        cells += [_least(-found.image), _least(found.snr)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _distances() -> list[str]:
    lines = []
    for pair in [(44_100, 16_000), (8_000, 16_000)]:
        band = np.round(np.linspace(0.003, 0.85, 41) * min(pair) / 2)
        signals = {"tones to 0.85": tones(band, pair[0], 2), "speech-like": speech_like(pair[0])}
        for what, signal in signals.items():
            for quality in PASS_BANDS:
                cells = [f"{pair[0]:,} to {pair[1]:,}", what, f"`{quality}`"]
                for other in (ours(quality, "rubato"), *OTHERS.values()):
                    rms, most = distance(ours(quality), other, signal, pair)
                    cells.append(f"{rms:.0e} / {most:.0e}".replace("e-0", "e-"))
                lines.append(f"| {' | '.join(cells)} |")
    return lines


def page() -> str:
    """The whole of docs/resampling.md."""
    measured = [line for pair in PAIRS for line in _rows(pair)]
    return TEXT.format(measured="\n".join(measured), distances="\n".join(_distances()))


TEXT = """\
# Resampling

`resample`, `load`, `load_batch` and `ossicle decode` convert between any two rates from 1 Hz to
768 kHz, aligned to the sample: sample 0 stays sample 0, `n` samples become `ceil(n * target /
orig)`, and a range of a recording has the bits of the whole. `ossicle.StreamResampler` does it for
a stream, whose chunks join to the same bits too.

| `quality=` | kept, of the lower Nyquist frequency | design | arithmetic |
|---|--:|--:|---|
| `"fast"` | 0.90 | 105 dB | float32 |
| `"high"` (default) | 0.95 | 140 dB | float32 |
| `"best"` | 0.98 | 160 dB | float64, rounded to float32 once |

All reject everything from the lower Nyquist frequency on: nothing folds back. The filters are
linear in phase, with a delay of zero, so an onset has ripples before it as after it: 1 / (1 -
pass band) periods of the band's edge long, more or less.

![Response near the Nyquist frequency, and a sweep](resampling.png)

The picture is drawn by `benches/chart_resampling.py`: gain near the Nyquist frequency, and what a
sweep through all of 44.1 kHz leaves at 16 kHz, where all that is not on the line to 8 kHz is an
alias.

## Measured

The tests measure these (`uv run pytest --write-docs`) and fail where a figure is not the page's.
Flat: the gain strays by so many dB at most, up to the given part of the band. Images: so many dB
below a tone of full scale is the strongest line that does not belong there; tones from 1.002 of
the lower Nyquist frequency on where the rate falls, of the band where it rises. SNR: of a
multitone up to that part of the band, beside the ideal. Figures in dB are rounded down to
multiples of 5.

| Hz | | band | flat within (dB) | images below (dB) | SNR (dB) |
|---|---|--:|--:|--:|--:|
{measured}

`engine="rubato"` is the resampler of the Rust crate rubato (5.1.0), with blocks of at least 512,
2,048 or 8,192 samples at the lower rate, even at both, and its filter `BlackmanHarris2`; `"best"`
is float64. It and the others are given a band of 0.90. torchaudio's formula is worked out in
float64 here, since torchaudio does not import beside today's torch: its defaults, and what it lists
as `kaiser_best`.

## Two engines

`ossicle.resample(..., engine="rubato")` converts with another implementation: as many samples, at
the same places, by other filters. Use it to see whether a result depends on the resampler. `load`,
`load_batch` and streams always use the native engine, whose ranges have the bits of the whole;
rubato converts whole signals only, and a pair of rates without a common divisor takes it seconds.

## How far from others

RMS / largest difference of samples, signals of 1 at most: tones up to 0.85 of the lower Nyquist
frequency, and a buzz through formants that stands for speech (all of it below 3.8 kHz). Large
figures are the droop of the other one's filter.

| Hz | signal | | rubato | soxr HQ | soxr VHQ | torchaudio | torchaudio, kaiser_best |
|---|---|---|--:|--:|--:|--:|--:|
{distances}

## Cost

Processor time against soxr HQ and against `"high"` is what `benches/peers.py resample` measures;
benches/README.md has what was tried. `engine="rubato"` takes 2 to 9 times as long as `"high"`: it
plans its transforms anew for each call.

## Streams

A stream hands out whole blocks. `latency` says by how many samples of the output it lags at most:
0.26 s for `high` from 44.1 to 16 kHz, 0.44 s from 8 to 16 kHz, half of that or less for `fast`, and
up to 2 s for `best`. It holds about as much input. Where the rates have no large common divisor,
small chunks cost up to twice the time of the whole.

## The same everywhere

Nothing depends on threads, chunks or ranges. The transforms use what the processor has (AVX, SSE,
NEON): that may change a sample of full scale by less than 1e-6, and a test compares with none of
them. The version of each profile is part of the version that cached waveforms carry.
"""
