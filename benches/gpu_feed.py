"""Clips on the disk, decoded to log-mel features in the background, straight into pinned memory."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ossicle

RATES = (16_000, 22_050)
SUFFIXES = ("wav", "flac")


def write_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Noise that swells and fades, WAV and FLAC in turn, at 16 and 22.05 kHz in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        rate = RATES[index // 2 % 2]
        rng = np.random.default_rng(index)
        noise = rng.standard_normal(round(rate * seconds)).astype(np.float32)
        loudness = np.abs(np.sin(np.arange(len(noise)) * (8.0 / rate))).astype(np.float32)
        path = folder / f"{index:05d}.{SUFFIXES[index % 2]}"
        paths.append(ossicle.save(path, 0.1 * noise * loudness, rate))
    return paths


class Feed:
    """Batches of features, decoded by threads without the GIL while the device computes.

    Args:
        paths: Clips of one length; they come again and again.
        batch: Clips of a batch.
        seconds: Of a clip.
        device: Where batches go.
        threads: That decode.
        buffers: Batches that lie ready or are being copied.

    Attributes:
        waited: Seconds that `next` stood still for want of a batch.
        decode_seconds: Seconds of decoding, by the wall.
        batches: That were decoded.
    """

    def __init__(
        self,
        paths: list[Path],
        batch: int,
        seconds: float,
        device: torch.device,
        *,
        threads: int | None = None,
        buffers: int = 4,
    ) -> None:
        self.paths, self.batch, self.seconds, self.device = paths, batch, seconds, device
        self.threads = threads
        self.waited, self.decode_seconds, self.batches = 0.0, 0.0, 0
        shape = (batch, 80, round(100 * seconds))
        cuda = device.type == "cuda"
        self._free: queue.Queue[tuple[Tensor, torch.cuda.Event | None]] = queue.Queue()
        for _ in range(buffers):
            self._free.put((torch.empty(shape, pin_memory=cuda), None))
        self._ready: queue.Queue[Tensor | BaseException] = queue.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="feed", daemon=True)
        self._thread.start()

    def next(self) -> Tensor:
        """The next batch on the device, (batch, 80, frames) float32, its copy under way."""
        start = time.perf_counter()
        found = self._ready.get()
        self.waited += time.perf_counter() - start
        if isinstance(found, BaseException):
            raise found
        features = found.to(self.device, non_blocking=True)
        copied = None
        if self.device.type == "cuda":
            copied = torch.cuda.Event()
            copied.record()
        else:
            features = features.clone()
        self._free.put((found, copied))
        return features

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        place = 0
        try:
            while not self._stop.is_set():
                try:
                    buffer, copied = self._free.get(timeout=0.1)
                except queue.Empty:
                    continue
                if copied is not None:
                    copied.synchronize()
                paths = [self.paths[(place + i) % len(self.paths)] for i in range(self.batch)]
                place += self.batch
                self._decode(paths, buffer)
                self._ready.put(buffer)
        except BaseException as error:  # of any kind: the other thread must hear of it
            self._ready.put(error)

    def _decode(self, paths: list[Path], buffer: Tensor) -> None:
        start = time.perf_counter()
        ossicle.load_features(
            paths, pad_to_seconds=self.seconds, threads=self.threads, out=buffer.numpy()
        )
        self.decode_seconds += time.perf_counter() - start
        self.batches += 1
