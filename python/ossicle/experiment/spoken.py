"""A corpus of speech made from nothing: a synthesiser says sentences of a small grammar.

The texts come from `sentence`, the voices from Debian's ``espeak-ng`` or, where there is none, from
tones that spell the letters. Nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ossicle.audio import save
from ossicle.outputs import claim_folder

__all__ = [
    "Speaker",
    "SpokenConfig",
    "SpokenCorpus",
    "SynthesiserError",
    "Utterance",
    "make_spoken",
    "sentence",
    "vocabulary",
]

Speaker = Literal["espeak-ng", "tones"]

NAMES = ("anna", "ben", "carla", "david", "emma", "fred", "gina", "hugo", "iris", "jack")
VERBS = (
    *("sees", "takes", "finds", "wants", "paints", "sells"),
    *("hides", "cleans", "moves", "brings", "keeps", "loves"),
)
COUNTS = ("the", "a", "my", "one", "two", "three", "four", "five", "seven", "nine")
COLOURS = ("red", "green", "blue", "black", "white", "yellow", "brown", "golden")
SIZES = ("big", "small", "old", "new", "round", "heavy", "cheap", "broken")
THINGS = (
    *("apple", "book", "chair", "lamp", "bottle", "hat", "guitar", "kettle", "pencil", "ladder"),
    *("mirror", "clock", "box", "spoon", "violin", "blanket", "carpet", "window", "bicycle"),
    "candle",
)
PREPOSITIONS = ("in", "near", "behind", "under", "beside")
PLACES = (
    *("garden", "kitchen", "school", "market", "station"),
    *("forest", "office", "harbour", "castle", "village"),
)
TIMES = ("today", "tonight", "tomorrow", "again", "slowly", "quickly")

ONE = ("the", "a", "my", "one")  # counts before a singular
VOICES = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp")
VARIANTS = ("m1", "m2", "m3", "m4", "f1", "f2", "f3", "f4")
RATES_WPM = (140, 190)
PITCHES = (30, 70)  # espeak's scale of 0 to 99

TONE_RATE = 16_000
TONE_SECONDS = 0.06
DRAWS = 1_000  # tries for a sentence that was not there yet

INSTALL = (
    "espeak-ng is not installed: `apt-get install espeak-ng` (Debian, Ubuntu), "
    "`brew install espeak-ng` (macOS); or choose the speaker `tones`, which needs no program"
)


class SynthesiserError(RuntimeError):
    """A sentence could not be said; the message gives the command and what it answered."""


@dataclass(frozen=True)
class SpokenConfig:
    """What a corpus is made of.

    Attributes:
        clips: Clips to train on.
        held_out: Clips whose sentences are in no other part.
        texts: Sentences without sound, for a language model; none of them is held out.
        seed: Of sentences, voices, rates and pitches.
        speaker: ``"espeak-ng"``, or ``"tones"``, which spells each letter with two tones.

    Raises:
        ValueError: If a number makes no sense; the message names it.
    """

    clips: int = 2_000
    held_out: int = 200
    texts: int = 20_000
    seed: int = 0
    speaker: Speaker = "espeak-ng"

    def __post_init__(self) -> None:
        for name in ("clips", "held_out", "texts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        if self.speaker not in get_args(Speaker):
            raise ValueError(f"speaker must be one of {get_args(Speaker)}, not {self.speaker!r}")


@dataclass(frozen=True)
class Utterance:
    """One sentence and how it is said.

    Attributes:
        text: Lower-case words and a full stop.
        voice: Of espeak-ng: language and variant.
        words_per_minute: How fast.
        pitch: 0 to 99, espeak-ng's scale.
    """

    text: str
    voice: str
    words_per_minute: int
    pitch: int


class SpokenCorpus(NamedTuple):
    """Where the parts of a corpus are.

    Attributes:
        train: Manifest of the clips to train on.
        held_out: Manifest of the clips that are held out.
        texts: A sentence a line, without sound.
    """

    train: Path
    held_out: Path
    texts: Path


def sentence(random: np.random.Generator) -> str:
    """A sentence of the grammar: four to nine words of `vocabulary` and a full stop.

    ``anna sees two heavy lamps near the castle.``: the parts are independent of each other, so
    that nothing but hearing tells which words were said.
    """

    def draw(words: Sequence[str]) -> str:
        return words[int(random.integers(len(words)))]

    count, thing = draw(COUNTS), draw(THINGS)
    parts = [draw(NAMES), draw(VERBS), count]
    if random.random() < 0.6:
        parts.append(draw((*COLOURS, *SIZES)))
    parts.append(thing if count in ONE else _plural(thing))
    if random.random() < 0.5:
        parts += [draw(PREPOSITIONS), "the", draw(PLACES)]
    if random.random() < 0.3:
        parts.append(draw(TIMES))
    return _article(" ".join(parts)) + "."


def vocabulary() -> list[str]:
    """Every word that `sentence` may use, in alphabetical order."""
    groups = (NAMES, VERBS, COUNTS, COLOURS, SIZES, THINGS, PREPOSITIONS, PLACES, TIMES, ("an",))
    return sorted({word for group in groups for word in group} | {_plural(t) for t in THINGS})


def _plural(noun: str) -> str:
    return noun + ("es" if noun.endswith("x") else "s")


def _article(text: str) -> str:
    words = text.split()
    pairs = zip(words, [*words[1:], ""], strict=True)
    return " ".join("an" if w == "a" and after[:1] in "aeio" else w for w, after in pairs)


def make_spoken(
    folder: Path | str,
    config: SpokenConfig | None = None,
    *,
    on_clip: Callable[[int, int], object] | None = None,
) -> SpokenCorpus:
    """Says the sentences of a corpus into WAV files and writes their manifests.

    Clips that exist are kept, so an interrupted call can be repeated. Equal
    configurations give equal texts, voices and manifests.

    Args:
        folder: Where to; made if it is missing.
        config: How many, which seed and which speaker.
        on_clip: Called with the clips that are done and those of the whole, after each.

    Returns:
        The manifests (rows of ``{"wav", "text", "sr", "voice"}``) and the file of texts.

    Raises:
        SynthesiserError: If espeak-ng is missing or fails.
        ValueError: If the folder holds a corpus of another configuration or other things, or the
            grammar has not as many sentences as are asked for.
    """
    folder, config = Path(folder), config or SpokenConfig()
    _claim(folder, config)
    say = _speaker(config.speaker)
    held_out, train, texts = _parts(config)
    total, done = config.clips + config.held_out, 0
    manifests = {}
    for name, utterances in (("train", train), ("held-out", held_out)):
        paths = [folder / name / f"{i:05}.wav" for i in range(len(utterances))]
        for _ in _say_all(say, utterances, paths):
            done += 1
            if on_clip:
                on_clip(done, total)
        manifests[name] = _manifest(folder, name, utterances, paths, config.speaker)
    lines = folder / "texts.txt"
    lines.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return SpokenCorpus(manifests["train"], manifests["held-out"], lines)


def _claim(folder: Path, config: SpokenConfig) -> None:
    """Before anything slow: clips of two configurations must not mix."""
    path, text = folder / "corpus.json", json.dumps(asdict(config))
    if path.exists() and path.read_text(encoding="utf-8") != text:
        found = path.read_text(encoding="utf-8")
        raise ValueError(f"{folder} holds another corpus ({found}): choose another folder")
    # Also because a file of a clip's name is taken for that clip.
    claim_folder(folder, path.name, "ossicle corpus spoken", text)


def _parts(config: SpokenConfig) -> tuple[list[Utterance], list[Utterance], list[str]]:
    """Held-out and training utterances and the texts; no held-out sentence is in another part."""
    random = np.random.default_rng(config.seed)
    taken: set[str] = set()
    held_out = [_utterance(_fresh(random, taken), random) for _ in range(config.held_out)]
    held = frozenset(taken)
    train = [_utterance(_fresh(random, taken), random) for _ in range(config.clips)]
    # Texts may be those of training clips, or come twice, as in any text.
    texts = [_fresh(random, held) for _ in range(config.texts)]
    return held_out, train, texts


def _fresh(random: np.random.Generator, taken: set[str] | frozenset[str]) -> str:
    for _ in range(DRAWS):
        text = sentence(random)
        if text not in taken:
            if isinstance(taken, set):
                taken.add(text)
            return text
    raise ValueError(f"the grammar has only about {len(taken)} sentences")


def _utterance(text: str, random: np.random.Generator) -> Utterance:
    voice = f"{VOICES[random.integers(len(VOICES))]}+{VARIANTS[random.integers(len(VARIANTS))]}"
    rate = int(random.integers(RATES_WPM[0], RATES_WPM[1] + 1))
    return Utterance(text, voice, rate, int(random.integers(PITCHES[0], PITCHES[1] + 1)))


def _say_all(
    say: Callable[[Utterance, Path], None], utterances: Sequence[Utterance], paths: Sequence[Path]
) -> Iterator[None]:
    """Says what is not there yet, on two threads, each of which waits for a process of its own."""

    def one(utterance: Utterance, path: Path) -> None:
        if path.exists():
            return
        partial = path.with_name(f"partial-{path.name}")
        say(utterance, partial)
        partial.replace(path)

    paths[0].parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(one, utterances, paths)


def _speaker(name: Speaker) -> Callable[[Utterance, Path], None]:
    if name == "tones":
        return _say_tones
    program = shutil.which("espeak-ng")
    if program is None:
        raise SynthesiserError(INSTALL)
    return lambda utterance, path: _say_espeak(program, utterance, path)


def _say_espeak(program: str, utterance: Utterance, path: Path) -> None:
    options = ["-v", utterance.voice, "-s", str(utterance.words_per_minute)]
    command = [program, *options, "-p", str(utterance.pitch), "-w", str(path), utterance.text]
    answer = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True)
    if answer.returncode or not path.exists():
        raise SynthesiserError(f"{' '.join(command)}: {answer.stderr.strip() or 'no sound'}")


def _say_tones(utterance: Utterance, path: Path) -> None:
    """Each letter as a pair of tones, as telephones dial; what is no letter is silence."""
    seconds = TONE_SECONDS * 165 / utterance.words_per_minute
    time = np.arange(round(seconds * TONE_RATE)) / TONE_RATE
    fade = np.minimum(1.0, 10 * np.minimum(time, seconds - time) / seconds)
    scale = 1 + (utterance.pitch - 50) / 1_000
    letters = np.zeros((len(utterance.text), len(time)), np.float32)
    for row, letter in enumerate(utterance.text):
        if letter.isalpha():
            high, low = divmod(ord(letter) - ord("a"), 5)
            pitches = (500 * 1.25**low * scale, 1_700 * 1.2**high * scale)
            letters[row] = fade * sum(0.3 * np.sin(2 * np.pi * p * time) for p in pitches)
    noise = np.random.default_rng(utterance.pitch).standard_normal(letters.size)
    save(path, letters.ravel() + 0.003 * noise, TONE_RATE)


def _manifest(
    folder: Path, name: str, utterances: Sequence[Utterance], paths: Sequence[Path], speaker: str
) -> Path:
    rate = TONE_RATE if speaker == "tones" else 22_050  # espeak-ng's
    rows = [
        {"wav": f"{name}/{path.name}", "text": u.text, "sr": rate, "voice": u.voice}
        for u, path in zip(utterances, paths, strict=True)
    ]
    manifest = folder / f"{name}.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest
