"""Payloads of HE-AAC, drawn at random from all that the syntax allows.

Format: ISO/IEC 14496-3, sections 4.4.2.8, 4.6.18 (spectral band replication) and 8.6.4 (parametric
stereo). They are added to packets of AAC-LC that an encoder has made.
The codes are read from our own tables: were one wrong, FFmpeg would read something else.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from dataclasses import dataclass, field
from pathlib import Path

CODES = Path(__file__).parents[1] / "rust/core/codec/aac"
SLOTS = 16


def books(path: Path) -> dict[str, dict[int, str]]:
    """The codes of each number, by the names of the books."""
    found = {}
    pattern = r"const (\w+): Codes = Codes \{\s*lengths: &\[(.*?)\],\s*values: &\[(.*?)\]"
    for name, *lists in re.findall(pattern, path.read_text(), re.S):
        lengths, values = ([int(n) for n in re.findall(r"-?\d+", numbers)] for numbers in lists)
        codes, code = {}, 0
        for length, value in zip(lengths, values, strict=True):
            codes[value] = f"{code >> (32 - length):0{length}b}"
            code += 1 << (32 - length)
        found[name] = codes
    return found


SBR = books(CODES / "sbr/codebooks.rs")
PS = books(CODES / "ps/codebooks.rs")


def bits(value: int, count: int) -> str:
    assert 0 <= value < 1 << count
    return f"{value:0{count}b}" if count else ""


def near(source: random.Random, base: int | None, low: int, high: int) -> int:
    """A number that is mostly near the one before: a payload has 269 bytes at most."""
    if base is None or source.random() < 0.04:
        return source.randint(low, high)
    return min(max(base + source.choice([0, 0, 0, 1, -1, 1, -1, 2, -2, 3]), low), high)


def nearest(value: float) -> int:
    return round(value)


# Tables of bands, section 4.6.18.3.2.

OFFSETS = {
    16_000: [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
    22_050: [-5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13],
    24_000: [-5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16],
    32_000: [-6, -4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16],
    44_100: [-4, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20],
    88_200: [-2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 16, 20, 24],
}


def widths(start: int, stop: int, count: int) -> list[int]:
    if count < 1:
        raise ValueError("no bands")
    edges = [nearest(start * (stop / start) ** (k / count)) for k in range(count + 1)]
    return sorted(b - a for a, b in itertools.pairwise(edges))


def master(rate: int, start: int, stop: int, scale: int, alter: int) -> list[int]:
    """The edges of all bands; a ValueError for what no stream may ask for."""
    table = 44_100 if rate in (48_000, 64_000) else 88_200 if rate > 64_000 else rate
    base = 3000 if rate < 32_000 else 4000 if rate < 64_000 else 5000
    low = nearest(128 * base / rate) + OFFSETS[table][start]
    least = nearest(256 * base / rate)
    steps = widths(least, 64, 13)
    high = {14: 2 * low, 15: 3 * low}.get(stop, least + sum(steps[:stop]))
    high = min(high, 64)
    most = 48 if rate <= 32_000 else 35 if rate == 44_100 else 32
    if not 0 < low < high <= low + most:
        raise ValueError("limits")
    if scale == 0:
        width = alter + 1
        count = 2 * ((high - low + (2 if alter else 0)) // (2 * width))
        all_widths = [width] * count
        over = count * width - (high - low)
        for n in range(max(over, 0)):
            all_widths[n] -= 1
        if over < 0 and all_widths:
            all_widths[-1] += 1
    else:
        half = {1: 6, 2: 5, 3: 4}[scale]
        middle = 2 * low if high / low > 2.2449 else high
        all_widths = widths(low, middle, 2 * nearest(half * math.log2(middle / low)))
        if middle < high:
            warp = 1.3 if alter else 1.0
            count = 2 * nearest(half * math.log2(high / middle) / warp)
            upper = widths(middle, high, count) if count else []
            if upper and upper[0] < all_widths[-1]:
                change = min(all_widths[-1] - upper[0], (upper[-1] - upper[0]) // 2)
                upper[0] += change
                upper[-1] -= change
            all_widths += sorted(upper)
    if not all_widths or min(all_widths) < 1 or sum(all_widths) != high - low:
        raise ValueError("bands")
    return [low + sum(all_widths[:n]) for n in range(len(all_widths) + 1)]


@dataclass
class Header:
    """``sbr_header``, and the numbers of bands that follow from it."""

    fields: dict[str, int]
    fine: int
    coarse: int
    noise: int

    @classmethod
    def draw(cls, rate: int, source: random.Random) -> Header:
        """One that no decoder refuses."""
        while True:
            fields = {
                "start": source.randrange(16),
                "stop": source.randrange(16),
                "crossover": source.choice([0, 0, 1, 2, 3]),
                "scale": source.randrange(4),
                "alter": source.randrange(2),
                "noise_bands": source.randrange(4),
                "smoothing": source.randrange(2),
            }
            try:
                edges = master(rate, *(fields[k] for k in ("start", "stop", "scale", "alter")))
            except ValueError:
                continue
            fine = len(edges) - 1 - fields["crossover"]
            if fine < 2 or not is_patchable(rate, edges, fields["crossover"]):
                continue
            noise = max(1, nearest(fields["noise_bands"] * math.log2(edges[-1] / edges[-1 - fine])))
            if noise <= 5:
                return cls(fields, fine, (fine + 1) // 2, noise)

    def write(self, is_coarse: int, source: random.Random) -> str:
        f = self.fields
        limiter = [source.randrange(4), source.randrange(4), source.randrange(2)]
        text = bits(is_coarse, 1) + bits(f["start"], 4) + bits(f["stop"], 4)
        text += bits(f["crossover"], 3) + "00" + "11"
        text += bits(f["scale"], 2) + bits(f["alter"], 1) + bits(f["noise_bands"], 2)
        return (
            text
            + bits(limiter[0], 2)
            + bits(limiter[1], 2)
            + bits(limiter[2], 1)
            + bits(f["smoothing"], 1)
        )


def is_patchable(rate: int, edges: list[int], crossover: int) -> bool:
    """Whether low bands fill the high ones within six patches: section 4.6.18.6.3.

    None of them is too short to be made: FFmpeg has gains there of packets before.
    """
    low, first, end = edges[0], edges[crossover], edges[-1]
    if first > 32:
        return False
    goal = nearest(2.048e6 / rate)
    top = len(edges) - 1
    k = next(n for n, edge in enumerate(edges) if edge >= goal) if goal < end else top
    msb, usb, patches, last = low, first, 0, None
    while True:
        if (k, msb) == last or patches > 5:
            return False
        last = (k, msb)
        sb = next((e for e in edges[k::-1] if e <= low - 1 + msb - (e + low) % 2), None)
        if sb is None:
            return False
        count = max(sb - usb, 0)
        if low - (sb + low) % 2 - count < 0:
            return False
        if count:
            usb = msb = sb
            patches += 1
        else:
            msb = first
        if edges[k] - sb < 3:
            k = top
        if sb == end:
            return patches == 1 or count == 0 or count >= 3


@dataclass
class Grid:
    text: str
    fine: list[int]
    noises: int
    late: int
    is_coarse: int


@dataclass
class Channel:
    """What the next packet's levels may build upon."""

    late: int = 0
    levels: list[int] = field(default_factory=list)
    noise: list[int] = field(default_factory=list)
    was_fine: int = 0


def draw_grid(channel: Channel, is_coarse: int, source: random.Random) -> Grid:
    """One that begins where the last one ended."""
    while True:
        kind = source.choice([2, 3] if channel.late else [0, 0, 1, 2, 3])
        if kind == 0:
            code = source.randrange(3)
            count = 1 << code
            fine = source.randrange(2)
            text = "00" + bits(code, 2) + bits(fine, 1)
            coarse = 0 if count == 1 else is_coarse
            return Grid(text, [fine] * count, min(count, 2), 0, coarse)
        late = source.randrange(4) if kind & 1 else 0
        begin, end = channel.late if kind & 2 else 0, SLOTS + late
        leading = source.randrange(4) if kind & 2 else 0
        trailing = source.randrange(4) if kind & 1 else 0
        count = leading + trailing + 1
        steps = [source.randrange(4) for _ in range(count - 1)]
        borders = [begin]
        for step in steps[:leading]:
            borders.append(borders[-1] + 2 * step + 2)
        tail = [end]
        for step in steps[leading:]:
            tail.append(tail[-1] - 2 * step - 2)
        borders += tail[::-1]
        if count > 5 or any(a >= b for a, b in itertools.pairwise(borders)):
            continue
        pointer = source.randrange(count + 2)
        pointer_bits = [0, 1, 2, 2, 3, 3][count]
        if pointer >= 1 << pointer_bits:
            continue
        fine = [source.randrange(2) for _ in range(count)]
        text = bits(kind, 2)
        text += bits(begin, 2) if kind & 2 else ""
        text += bits(late, 2) if kind & 1 else ""
        text += bits(leading, 2) if kind & 2 else ""
        text += bits(trailing, 2) if kind & 1 else ""
        text += "".join(bits(step, 2) for step in steps) + bits(pointer, pointer_bits)
        text += "".join(bits(f, 1) for f in (fine[::-1] if kind == 1 else fine))
        return Grid(text, fine, min(count, 2), late, is_coarse)


class Replication:
    """The payloads of one element, packet after packet."""

    def __init__(self, rate: int, channels: int, seed: int, *, stereo: bool = False) -> None:
        self.source = random.Random(seed)
        self.header = Header.draw(rate, self.source)
        self.channels = [Channel() for _ in range(channels)]
        self.is_coarse = 0
        self.count = 0
        self.was_coupled = False
        self.stereo = Stereo(self.source) if stereo else None

    def levels(self, channel: Channel, grid: Grid, over_time: list[int], role: str) -> str:
        """``sbr_envelope``."""
        source, text = self.source, ""
        name = ("LEVELS", "BALANCES")[role == "share"] + ("_FINE", "_COARSE")[grid.is_coarse]
        step = 2 if role == "share" else 1
        low, high = ((3, 17), (5, 34))[not grid.is_coarse]
        if role == "share":
            low, high = 0, 24 if grid.is_coarse else 48
        first_bits = 7 - grid.is_coarse - (role == "share")
        odd = self.header.fine & 1
        for fine, is_over_time in zip(grid.fine, over_time, strict=True):
            count = self.header.fine if fine else self.header.coarse
            new: list[int] = []
            for band in range(count):
                before = new[-1] // step if new else None
                target = step * near(source, before, low // step, high // step)
                if is_over_time:
                    at = band
                    if fine and not channel.was_fine:
                        at = (band + odd) // 2
                    elif channel.was_fine and not fine:
                        at = max(2 * band - odd, 0)
                    base = channel.levels[at]
                    target = step * near(source, base // step, low // step, high // step)
                    change = (target - base) // step
                    text += SBR[name + "_TIME"][change]
                    target = base + step * change
                elif band == 0:
                    text += bits(target // step, first_bits)
                else:
                    text += SBR[name][(target - new[-1]) // step]
                new.append(target)
            channel.levels, channel.was_fine = new, fine
        return text

    def noise(self, channel: Channel, grid: Grid, over_time: list[int], role: str) -> str:
        """``sbr_noise``."""
        source, text = self.source, ""
        step, high = (2, 24) if role == "share" else (1, 30)
        names = (
            ("NOISE_BALANCES_TIME", "BALANCES_COARSE")
            if step == 2
            else ("NOISE_TIME", "LEVELS_COARSE")
        )
        for is_over_time in over_time[: grid.noises]:
            new: list[int] = []
            for band in range(self.header.noise):
                before = new[-1] // step if new else None
                target = step * near(source, before, 0, high // step)
                if is_over_time:
                    change = (target - channel.noise[band]) // step
                    text += SBR[names[0]][change]
                    target = channel.noise[band] + step * change
                elif band == 0:
                    text += bits(target // step, 5)
                else:
                    text += SBR[names[1]][(target - new[-1]) // step]
                new.append(target)
            channel.noise = new
        return text

    def directions(self, grid: Grid, *, is_free: bool) -> tuple[list[int], list[int]]:
        """``sbr_dtdf``: what of the first envelope depends on the packet before."""
        draw = [self.source.randrange(2) for _ in range(len(grid.fine) + grid.noises)]
        levels, noise = draw[: len(grid.fine)], draw[len(grid.fine) :]
        if not is_free:
            levels[0] = noise[0] = 0
        return levels, noise

    def payload(self) -> str:
        """The next packet's, as bits."""
        source, text = self.source, ""
        has_header = self.count == 0 or source.random() < 0.3
        text += bits(has_header, 1)
        if has_header:
            self.is_coarse = source.randrange(2)
            text += self.header.write(self.is_coarse, source)
        text += self.data()
        self.count += 1
        return text

    def data(self) -> str:
        source = self.source
        extra = source.random() < 0.2
        text = bits(extra, 1) + ("1010" * len(self.channels) if extra else "")
        is_pair = len(self.channels) == 2
        late_alike = len({channel.late for channel in self.channels}) == 1
        is_coupled = is_pair and late_alike and source.random() < 0.5
        text += bits(is_coupled, 1) if is_pair else ""
        grids = [draw_grid(self.channels[0], self.is_coarse, source)]
        text += grids[0].text
        if is_pair and is_coupled:
            grids.append(grids[0])
        elif is_pair:
            grids.append(draw_grid(self.channels[1], self.is_coarse, source))
            text += grids[1].text
        # Steps and what they are of change with these: levels then build upon nothing before.
        kind = (is_coupled, *(grid.is_coarse for grid in grids))
        is_free = self.count > 0 and kind == self.was_coupled
        self.was_coupled = kind
        directions = [self.directions(grid, is_free=is_free) for grid in grids]
        text += "".join(bits(flag, 1) for both in directions for one in both for flag in one)
        for _ in range(1 if is_coupled or not is_pair else 2):
            text += "".join(bits(source.randrange(4), 2) for _ in range(self.header.noise))
        text += self.all_levels(grids, directions, is_coupled=is_coupled)
        for channel, grid in zip(self.channels, grids, strict=True):
            channel.late = grid.late
            has_sines = source.random() < 0.4
            text += bits(has_sines, 1)
            if has_sines:
                draw = [source.random() < 0.2 for _ in range(self.header.fine)]
                text += "".join(bits(flag, 1) for flag in draw)
        if self.stereo is None:
            return text + "0"
        body = "10" + self.stereo.payload()
        body += "0" * (-len(body) % 8)
        size = len(body) // 8
        length = bits(size, 4) if size < 15 else bits(15, 4) + bits(size - 15, 8)
        return text + "1" + length + body

    def all_levels(
        self, grids: list[Grid], directions: list[tuple[list[int], list[int]]], *, is_coupled: bool
    ) -> str:
        rows = list(zip(self.channels, grids, directions, strict=True))
        roles = ["level", "share" if is_coupled else "level"]
        levels, noise = [], []
        for (channel, grid, (over_time, noise_over_time)), role in zip(rows, roles, strict=False):
            levels.append(self.levels(channel, grid, over_time, role))
            noise.append(self.noise(channel, grid, noise_over_time, role))
        if is_coupled:
            return levels[0] + noise[0] + levels[1] + noise[1]
        return "".join(levels) + "".join(noise)


class Stereo:
    """``ps_data``, packet after packet."""

    BANDS = (10, 20, 34)
    PHASES = (5, 11, 17)

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.modes: tuple[int | None, int | None] = (None, None)
        self.has_phases = source.randrange(2)
        self.last: dict[str, list[int]] = {}
        self.count = 0
        # FFmpeg keeps phases of bands that there are no more.
        self.may_change = not self.has_phases and source.random() < 0.5

    def payload(self) -> str:
        source = self.source
        has_header = self.count == 0 or source.random() < 0.3
        text = bits(has_header, 1)
        is_new = False
        if has_header:
            before = self.modes
            if self.count == 0 or self.may_change:
                self.modes = (source.randrange(6), source.randrange(6))
            is_new = before != self.modes
            for mode in self.modes:
                assert mode is not None
                text += "1" + bits(mode, 3)
            text += bits(self.has_phases, 1)
        is_free = source.randrange(2)
        if is_free:
            count = source.randrange(1, 5)
            text += "1" + bits(count - 1, 2)
            text += "".join(bits(n, 5) for n in sorted(source.sample(range(32), count)))
        else:
            code = source.randrange(1 if is_new else 0, 4)
            count = (0, 1, 2, 4)[code]
            text += "0" + bits(code, 2)
        intensity, coherence = self.modes
        assert intensity is not None
        assert coherence is not None
        most = 15 if intensity > 2 else 7
        name = "INTENSITY_FINE" if intensity > 2 else "INTENSITY"
        text += self.track(
            "iid", name, count, self.BANDS[intensity % 3], (-most, most), is_new=is_new
        )
        text += self.track(
            "icc", "COHERENCE", count, self.BANDS[coherence % 3], (0, 7), is_new=is_new
        )
        if self.has_phases:
            text += self.phases(count, self.PHASES[intensity % 3], is_new=is_new)
        self.count += 1
        return text

    def track(
        self, key: str, name: str, count: int, bands: int, limits: tuple[int, int], *, is_new: bool
    ) -> str:
        return "".join(
            self.envelope(key, name, bands, limits, is_free=envelope > 0 or not is_new)
            for envelope in range(count)
        )

    def envelope(
        self, key: str, name: str, bands: int, limits: tuple[int, int], *, is_free: bool
    ) -> str:
        source = self.source
        is_over_time = int(is_free and key in self.last and source.random() < 0.5)
        text, new = bits(is_over_time, 1), []
        for band in range(bands):
            base = self.last[key][band] if is_over_time else new[-1] if new else 0
            target = near(source, base, *limits)
            change = target - base
            if key in ("ipd", "opd"):
                change %= 8
            text += PS[name + "_TIME" * is_over_time][change]
            new.append(target)
        self.last[key] = new
        return text

    def phases(self, count: int, bands: int, *, is_new: bool) -> str:
        body = "00" + "1"
        for envelope in range(count):
            for key, name in (("ipd", "PHASE"), ("opd", "OVERALL")):
                body += self.envelope(key, name, bands, (0, 7), is_free=envelope > 0 or not is_new)
        body += "0"
        body += "0" * (-len(body) % 8)
        size = len(body) // 8
        return (bits(size, 4) if size < 15 else bits(15, 4) + bits(size - 15, 8)) + body


def frames(data: bytes) -> list[bytes]:
    """The frames of a stream in ADTS."""
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at + 3 : at + 6], "big") >> 5 & 0x1FFF
        found.append(data[at : at + length])
        at += length
    return found


def with_payload(frame: bytes, payload: str, kind: int = 13) -> bytes:
    """A frame in ADTS whose block ends with this payload."""
    text = bits(int.from_bytes(frame[7:], "big"), 8 * len(frame[7:])).rstrip("0")
    assert text.endswith("111")
    body = bits(kind, 4) + ("0" * 10 if kind == 14 else "") + payload
    body += "0" * (-len(body) % 8)
    size = len(body) // 8
    length = bits(size, 4) if size < 15 else bits(15, 4) + bits(size - 14, 8)
    text = text[:-3] + "110" + length + body + "111"
    text += "0" * (-len(text) % 8)
    block = int(text, 2).to_bytes(len(text) // 8, "big")
    head = int.from_bytes(frame[:7], "big") & ~(0x1FFF << 13) | (7 + len(block)) << 13
    return head.to_bytes(7, "big") + block


def replicate(core: bytes, rate: int, channels: int, seed: int, *, stereo: bool = False) -> bytes:
    """HE-AAC of a stream of AAC-LC in ADTS, for an output of `rate` Hz."""
    writer = Replication(rate, channels, seed, stereo=stereo)
    kind = 13 + seed % 2
    return b"".join(with_payload(frame, writer.payload(), kind) for frame in frames(core))
