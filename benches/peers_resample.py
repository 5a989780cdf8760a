"""Resampling to 16 kHz, side by side with what one would pick instead."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Annotated

import harness
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

import ossicle

Array = npt.NDArray[np.float32]
Resample = Callable[[Array, int], Array]

TARGET = 16_000
RATES = (44_100, 48_000, 22_050, 8_000)
SECONDS = (1, 3, 15, 60)
# Up to this part of the lower Nyquist frequency a peer has to be so many dB near the ideal: a line
# drawn between samples is not.
BAND, LEAST_DB = 0.3, 20.0
PACKAGES = ["soxr", "scipy", "librosa", "torch", "torchaudio", "samplerate"]
METHOD = (
    'Float32 to float32 at 16 kHz in memory, one thread. Ours is `quality="high"`; the columns '
    "`fast` and `best` are our other profiles. A peer whose tones up to 0.3 of the lower Nyquist "
    "frequency are further than 20 dB from the ideal is not timed."
)


def _soxr(quality: str) -> Resample:
    import soxr

    # soxr has the channels last.
    def resample(waveform: Array, rate: int) -> Array:
        return soxr.resample(waveform.T, rate, TARGET, quality).T

    return resample


def _scipy() -> Resample:
    from scipy.signal import resample_poly

    def resample(waveform: Array, rate: int) -> Array:
        divisor = np.gcd(rate, TARGET)
        return resample_poly(waveform, TARGET // divisor, rate // divisor, axis=-1)

    return resample


def _librosa(kind: str) -> Resample:
    import librosa

    return lambda waveform, rate: librosa.resample(
        waveform, orig_sr=rate, target_sr=TARGET, res_type=kind
    )


def _samplerate() -> Resample:
    import samplerate

    return lambda waveform, rate: samplerate.resample(waveform.T, TARGET / rate, "sinc_best").T


def _torchaudio() -> Resample:
    import torch
    import torchaudio

    resamplers: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}

    def resample(waveform: Array, rate: int) -> Array:
        if rate not in resamplers:
            resamplers[rate] = torchaudio.transforms.Resample(rate, TARGET)
        return resamplers[rate](torch.from_numpy(waveform)).numpy()

    return resample


def _ours(quality: str, engine: str = "native") -> Resample:
    return lambda waveform, rate: ossicle.resample(
        waveform, rate, TARGET, quality=quality, engine=engine
    )


PEERS: dict[str, Callable[[], Resample]] = {
    "fast": lambda: _ours("fast"),
    "best": lambda: _ours("best"),
    "rubato": lambda: _ours("high", "rubato"),
    "soxr HQ": lambda: _soxr("HQ"),
    "soxr VHQ": lambda: _soxr("VHQ"),
    "soxr LQ": lambda: _soxr("LQ"),
    "soxr QQ": lambda: _soxr("QQ"),
    "scipy": _scipy,
    "librosa": lambda: _librosa("soxr_hq"),
    "torchaudio": _torchaudio,
    "samplerate": _samplerate,
}


def snr(resample: Resample, rate: int, band: float) -> float:
    """dB between tones up to a part of the band and what is wrong with them, ends aside."""
    frequencies = np.round(np.linspace(0.01, band, 15) * min(rate, TARGET) / 2)

    def tones(at: int) -> npt.NDArray[np.float64]:
        time = np.arange(2 * at)[:, None] / at
        return np.sin(2 * np.pi * frequencies * time + np.arange(15) ** 2).mean(1)

    ideal = tones(TARGET)[TARGET // 2 : -TARGET // 2]
    got = resample(tones(rate).astype(np.float32), rate)
    if abs(len(got) - 2 * TARGET) > 1:
        return -np.inf
    noise = got[TARGET // 2 :][: len(ideal)] - ideal
    return float(10 * np.log10(np.mean(ideal**2) / max(np.mean(noise**2), 1e-30)))


def _usable(peers: dict[str, Resample], rate: int, row: harness.Row) -> dict[str, Resample]:
    """Those that do the work; why the others do not stands in `row`."""
    good = {}
    for name, resample in peers.items():
        found = snr(resample, rate, BAND)
        if found < LEAST_DB:
            row.missing[name] = f"{found:.0f} dB from the ideal at {rate} Hz"
        else:
            good[name] = resample
    return good


def _installed() -> tuple[dict[str, Resample], dict[str, str]]:
    found, missing = {}, {}
    for name, make in PEERS.items():
        try:
            found[name] = make()
        except Exception as error:  # a peer may fail to import in any way, as torchaudio does
            missing[name] = harness.reason(error)
    return found, missing


def _row(seconds: int, rate: int, channels: int, rounds: int) -> harness.Row:
    kind = "stereo" if channels == 2 else "mono"
    row = harness.Row(f"{seconds} s {rate / 1000:g}k {kind}")
    peers, row.missing = _installed()
    shape = (channels, seconds * rate) if channels > 1 else (seconds * rate,)
    waveform = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 0.1
    contestants = {harness.OURS: _ours("high"), **_usable(peers, rate, row)}
    work = {}
    for name, resample in contestants.items():
        with suppress(ValueError):
            resample(waveform, rate)
            work[name] = lambda resample=resample: resample(waveform, rate)
    return harness.race(row, work, rounds)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each row, at least.")] = 15,
    quick: Annotated[bool, typer.Option("--quick", help="One row: does it work?")] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Resampling to 16 kHz."""
    console = Console()
    shapes = [(seconds, rate, 1) for seconds in SECONDS for rate in RATES]
    shapes += [(seconds, rate, 2) for seconds in (3, 60) for rate in (44_100, 48_000)]
    if quick:
        shapes, rounds = [(3, 44_100, 1), (1, 8_000, 2)], 3
    rows = [_row(*shape, rounds) for shape in shapes]
    harness.show("Resampling to 16 kHz", rows, list(PEERS), console)
    if quick or not write:
        return
    facts = {"machine": harness.machine(), "versions": harness.versions(PACKAGES)}
    for path in harness.record("resample", rows, list(PEERS), facts, METHOD):
        console.print(f"wrote {path}", highlight=False)


if __name__ == "__main__":
    harness.one_thread()
    typer.run(main)
