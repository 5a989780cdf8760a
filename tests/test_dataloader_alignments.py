"""Alignments: TextGrids as Praat writes them, CTM as NIST describes it, and their damage."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ossicle.dataloader import (
    ManifestError,
    MetadataError,
    MissingStageError,
    PhonemeAdapter,
)
from ossicle.dataloader.outputs.alignments import index_ctm, read_ctm, read_textgrid

PRAAT = Path(__file__).parent / "data" / "textgrid"
QUICK = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LABELS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8)
TIMES = st.lists(st.floats(0, 1e4, allow_subnormal=False), min_size=2, max_size=6, unique=True)


def rows(segments: list[dict[str, Any]]) -> list[list[Any]]:
    return [[each[key] for key in ("onset", "offset", "label", "tier")] for each in segments]


@pytest.mark.parametrize("kind", ["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_praat_wrote_is_what_praat_says(kind: str, encoding: str) -> None:
    # Written, and queried, by Praat 6.1.38 itself.
    truth = json.loads((PRAAT / "praat.json").read_text("utf-8"))
    segments, end = read_textgrid(PRAAT / f"praat-{kind}-{encoding}.TextGrid")
    assert rows(segments) == truth["segments"]
    assert end == truth["duration"]
    assert all(each["channel"] is None and each["confidence"] is None for each in segments)


@pytest.mark.parametrize("kind", ["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_do_not_matter(
    kind: str, encoding: str, newline: str, tmp_path: Path
) -> None:
    source = PRAAT / f"praat-{kind}-utf-8.TextGrid"
    mark = "\ufeff" if "16" in encoding else ""
    text = mark + source.read_text("utf-8").replace("\n", newline)
    (tmp_path / "a.TextGrid").write_bytes(text.encode(encoding))
    assert read_textgrid(tmp_path / "a.TextGrid") == read_textgrid(source)


Tier = tuple[str, str, list[tuple[float, float, str]]]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def long_text(tiers: list[Tier], end: float) -> str:
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [f"xmax = {end!r}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (kind, name, segments) in enumerate(tiers, 1):
        what = "intervals" if kind == "IntervalTier" else "points"
        lines += [f"    item [{number}]:", f'        class = "{kind}"']
        lines += [f"        name = {quoted(name)}", "        xmin = 0", f"        xmax = {end!r}"]
        lines.append(f"        {what}: size = {len(segments)}")
        for at, (onset, offset, label) in enumerate(segments, 1):
            lines.append(f"        {what} [{at}]: ! number {at}")
            if kind == "IntervalTier":
                lines += [f"            xmin = {onset!r}", f"            xmax = {offset!r}"]
                lines.append(f"            text = {quoted(label)}")
            else:
                lines += [f"            number = {onset!r}", f"            mark = {quoted(label)}"]
    return "\n".join(lines) + "\n"


def short_text(tiers: list[Tier], end: float) -> str:
    parts = ['File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    parts += ["0", repr(end), "<exists>", str(len(tiers))]
    for kind, name, segments in tiers:
        parts += [f'"{kind}"', quoted(name), "0", repr(end), str(len(segments))]
        for onset, offset, label in segments:
            times = [onset, offset] if kind == "IntervalTier" else [onset]
            parts += [*map(repr, times), quoted(label)]
    return "\n".join(parts)


@st.composite
def grids(draw: Any) -> tuple[list[Tier], float]:
    tiers: list[Tier] = []
    for _ in range(draw(st.integers(0, 3))):
        times = sorted(draw(TIMES))
        if draw(st.booleans()):
            spans = list(itertools.pairwise(times))
            tiers.append(("IntervalTier", draw(LABELS), [(*span, draw(LABELS)) for span in spans]))
        else:
            tiers.append(("TextTier", draw(LABELS), [(at, at, draw(LABELS)) for at in times]))
    return tiers, draw(st.floats(1e4, 2e4))


@QUICK
@given(grid=grids())
def test_both_formats_give_what_was_written(grid: tuple[list[Tier], float], tmp_path: Path) -> None:
    tiers, end = grid
    truth = [[*segment, name] for _, name, segments in tiers for segment in segments]
    for write, encoding in ((long_text, "utf-8"), (short_text, "utf-8"), (long_text, "utf-16")):
        path = tmp_path / "a.TextGrid"
        path.write_bytes(write(tiers, end).encode(encoding))
        segments, found = read_textgrid(path)
        assert rows(segments) == truth
        assert found == end


WHOLE = short_text([("IntervalTier", "phones", [(0.0, 0.5, "a"), (0.5, 1.0, 'b "c"')])], 1.0)


@pytest.mark.parametrize(
    ("before", "after", "line", "why"),
    [
        ('"ooTextFile"', '"ooBinaryFile"', 1, "not a TextGrid"),
        ('"TextGrid"', '"Pitch"', 2, "not a TextGrid"),
        ('"phones"', "phones", 10, "a text belongs"),
        ("IntervalTier", "SoundTier", 8, "unknown kind of tier 'SoundTier'"),
        ("0.0\n0.5", "0.5\n0.0", 14, "ends at 0 s, before it begins"),
        ('"a"', "12", 15, "a text belongs where '12'"),
        ('"a"', "", 16, "a text belongs where '0.5'"),
        ('""c"""', '""c""', 18, "never closed"),
        ("<exists>\n1", "<exists>\n2", 18, "it ends where a text belongs"),
        ("<exists>\n1", "<exists>\n0", 8, "the number of tiers"),
        ("<exists>\n1", "<exists>\n1.5", 7, "a count belongs"),
        ("1.0\n2\n", "1.0\n-2\n", 12, "a count belongs"),
        ("0.5\n1.0", "0.5\n1e999", 17, "too large"),
    ],
)
def test_damage_has_file_and_line(
    before: str, after: str, line: int, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.TextGrid"
    assert before in WHOLE
    path.write_text(WHOLE.replace(before, after, 1), "utf-8")
    with pytest.raises(MetadataError, match=why) as caught:
        read_textgrid(path)
    assert caught.value.source == str(path)
    assert f"line {line}:" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"RIFF....WAVE", b'"ooTextFile"\n\xe9'])
def test_what_is_no_textgrid_is_a_typed_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_bytes(content)
    with pytest.raises(MetadataError, match=r"a\.TextGrid: line \d"):
        read_textgrid(tmp_path / "a.TextGrid")


@QUICK
@given(cut=st.integers(0, 10_000), junk=st.binary(max_size=4).filter(lambda at: b'"' not in at))
def test_any_cut_is_a_typed_error(cut: int, junk: bytes, tmp_path: Path) -> None:
    content = WHOLE.encode()[: WHOLE.index('"b ') + 1]  # a cut label may be a whole one
    path = tmp_path / "a.TextGrid"
    path.write_bytes(content[: cut % len(content)] + junk)
    with pytest.raises(MetadataError):
        read_textgrid(path)


WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"], exclude_characters=";"),
    min_size=1,
    max_size=6,
).filter(lambda word: word.split() == [word] and "\ufeff" not in word)
LINES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b.c", "日本"]),
        st.sampled_from(["1", "2", "A"]),
        st.floats(0, 1e4),
        st.floats(0, 10),
        WORDS,
        st.none() | st.just("NA") | st.floats(0, 1),
    ),
    max_size=12,
)


@QUICK
@given(lines=LINES, seed=st.integers(0, 3))
def test_ctm_gives_what_was_written(
    lines: list[tuple[Any, ...]], seed: int, tmp_path: Path
) -> None:
    path = tmp_path / "phones.ctm"
    texts = [" ".join(str(field) for field in line if field is not None) for line in lines]
    between = ["", ";; a comment", "   ", ""][seed]
    path.write_text(f"\n{between}\n".join(texts) + "\n" * (seed % 2), "utf-8")
    truth: dict[str, list[dict[str, Any]]] = {}
    for wav_id, channel, onset, duration, label, confidence in lines:
        truth.setdefault(wav_id, []).append(
            {
                "onset": onset,
                "offset": onset + duration,
                "label": label,
                "tier": "phones",
                "channel": channel,
                "confidence": confidence if isinstance(confidence, float) else None,
            }
        )
    found = {
        wav_id: [segment for run in runs for segment in read_ctm(run)]
        for wav_id, runs in index_ctm(path).items()
    }
    assert found == truth


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a 1 0.5 0.1", "4 fields"),
        ("a 1 x 0.1 t", "'x' is not a number"),
        ("a 1 0.5 nan t", "'nan' is not a number"),
        ("a 1 -0.5 0.1 t", "before the beginning"),
        ("a 1 0.5 -0.1 t", "before the beginning"),
        ("a 1 0.5 0.1 t high", "'high' is not a number"),
    ],
)
def test_a_bad_line_of_ctm_has_file_and_number(line: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ctm"
    path.write_text(f";; first\nb 1 0 1 t\n\n{line}\nb 1 1 1 t\n", "utf-8")
    adapter = PhonemeAdapter(tmp_path)
    assert len(adapter.load("b")["phonemes"]) == 2
    with pytest.raises(MetadataError, match=f"line 4: .*{why}") as caught:
        adapter.load("a")
    assert caught.value.source == str(path)
    with pytest.raises(MetadataError, match="line 4"):
        adapter.as_manifest()


def test_ctm_that_is_no_utf8_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.ctm").write_bytes(b"a 1 0 1 t\na 1 1 1 \xe9\n")
    with pytest.raises(MetadataError, match="line 2: is not valid UTF-8"):
        PhonemeAdapter(tmp_path).list_ids()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings in grids, one of them in a subfolder; two in CTM of two tiers."""
    (tmp_path / "speaker 1").mkdir()
    (tmp_path / "a.b.TextGrid").write_text(WHOLE, "utf-8")
    tiers: list[Tier] = [
        ("IntervalTier", "words", [(0.0, 1.0, ""), (1.0, 2.0, "hi"), (2.0, 3.0, " ")]),
        ("IntervalTier", "phones", [(1.0, 1.5, "h"), (1.5, 2.0, "aj")]),
    ]
    (tmp_path / "speaker 1/日本.textgrid").write_text(long_text(tiers, 3.0), "utf-8")
    (tmp_path / "phones.ctm").write_text("c 1 0.5 0.25 h 0.9\nd 1 0 1 x\nc 1 0.75 0.25 aj NA\n")
    (tmp_path / "words.ctm").write_text("\ufeffc A 0.5 0.5 hi\n", "utf-8")
    (tmp_path / "notes.txt").write_text("nothing")
    return tmp_path


def test_adapter(folder: Path) -> None:
    adapter = PhonemeAdapter(folder)
    assert adapter.list_ids() == ["a.b", "c", "d", "日本"]
    assert [adapter.exists(name) for name in ("c", "日本", "notes", "../c")] == [1, 1, 0, 0]
    assert rows(adapter.load("日本")["phonemes"]) == [
        [1.0, 2.0, "hi", "words"],
        [1.0, 1.5, "h", "phones"],
        [1.5, 2.0, "aj", "phones"],
    ]
    assert adapter.load("c")["phonemes"] == [
        {"onset": 0.5, "offset": 0.75, "label": "h", "tier": "phones"}
        | {"channel": "1", "confidence": 0.9},
        {"onset": 0.75, "offset": 1.0, "label": "aj", "tier": "phones"}
        | {"channel": "1", "confidence": None},
        {"onset": 0.5, "offset": 1.0, "label": "hi", "tier": "words"}
        | {"channel": "A", "confidence": None},
    ]
    frame = adapter.as_manifest()
    assert frame.rows() == [
        ("a.b", 2, '{"a": 1, "b \\"c\\"": 1}', 1.0),
        ("c", 3, '{"aj": 1, "h": 1, "hi": 1}', 1.0),
        ("d", 1, '{"x": 1}', 1.0),
        ("日本", 3, '{"aj": 1, "h": 1, "hi": 1}', 3.0),
    ]
    assert adapter.scan().collect().equals(frame)


def test_adapter_of_some_tiers(folder: Path) -> None:
    phones = PhonemeAdapter(folder, tiers=["phones"])
    assert [each["label"] for each in phones.load("日本")["phonemes"]] == ["h", "aj"]
    assert phones.as_manifest()["phoneme_n_segments"].to_list() == [2, 2, 1, 2]
    whole = PhonemeAdapter(folder, keep_empty=True)
    assert [each["label"] for each in whole.load("日本")["phonemes"]] == ["", "hi", " ", "h", "aj"]
    other = PhonemeAdapter(folder / "nowhere", tiers=["phones"])
    assert other.load("c", folder)["phonemes"] == phones.load("c")["phonemes"]
    with pytest.raises(TypeError, match="collection"):
        PhonemeAdapter(folder, tiers="phones")


def test_adapter_pickles(folder: Path) -> None:
    again = pickle.loads(pickle.dumps(PhonemeAdapter(folder, tiers=["phones"])))
    assert again.load("c") == PhonemeAdapter(folder, tiers=["phones"]).load("c")


def test_two_alignments_of_a_recording_are_an_error(folder: Path) -> None:
    (folder / "c.TextGrid").write_text(WHOLE)
    with pytest.raises(ManifestError, match=r"'c': has two alignments") as caught:
        PhonemeAdapter(folder).list_ids()
    assert "c.TextGrid" in str(caught.value)
    assert ".ctm" in str(caught.value)
    (folder / "c.TextGrid").unlink()
    (folder / "speaker 1/words.ctm").write_text("c A 0.5 0.5 hi\n")
    with pytest.raises(ManifestError, match="two alignments"):
        PhonemeAdapter(folder).list_ids()


def test_nothing_there_is_a_typed_error(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(MissingStageError, match="no alignment"):
            PhonemeAdapter(place).scan()
    (tmp_path / "a.TextGrid").write_text(WHOLE)
    with pytest.raises(MetadataError, match="'b': has no alignment"):
        PhonemeAdapter(tmp_path).load("b")
