"""docs/errors.md: every message of an error or a warning in the package, by class.

``python tests/error_page.py`` writes the page from the sources: raises and warnings of Python by
their syntax trees, messages of Rust by the constructor next to them. What is written by hand is
when a class is met and what to do about it: `ADVICE`.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
Messages = defaultdict[str, set[str]]

ADVICE = {
    "AudioIOError": (
        "A file cannot be read or written, or has changed while it was read.",
        "Check that the file exists, its permissions and the free space; `errno` has the number of "
        "the operating system. A missing file is an `AudioFileNotFoundError`.",
    ),
    "AudioFileNotFoundError": (
        "There is no such file or folder.",
        "Correct the path; paths of a manifest are relative to its folder.",
    ),
    "UnsupportedFormatError": (
        "A container, codec or profile that is not decoded; the message names it.",
        "Convert the file, for example by `ffmpeg -i IN OUT.flac`; "
        "[formats.md](formats.md) lists what is read.",
    ),
    "CorruptAudioError": (
        "A file is empty or truncated, or a checksum or a size in it is wrong.",
        "Copy the file again from its source, or decode what is left by `load_concealed`; a shard "
        "is repaired by `ossicle repair`, an index is made again by `ossicle index --force`.",
    ),
    "DecodeError": (
        "The data of a packet are invalid.",
        "As for `CorruptAudioError`.",
    ),
    "DecodersDisagreeError": (
        'With `decoder="both"`, two decoders make different samples of a file.',
        "Compare both (`decoder=`), and report the file: one of the decoders has a fault. "
        " [decoders.md](decoders.md) says what counts as a difference.",
    ),
    "NonFiniteSampleError": (
        "A decoded sample is NaN or infinite.",
        "Repair the file, or pass `allow_nonfinite=True`.",
    ),
    "AudioLimitError": (
        "Memory cannot hold a clip, or reading it does not come to an end.",
        "Read long recordings in ranges, with fewer threads or in smaller batches.",
    ),
    "InvalidArgumentError": (
        "An argument is invalid; nothing was read or written.",
        "Pass what the message asks for.",
    ),
    "InvalidKeyError": (
        "A cache key has an invalid digest, rate, length or type.",
        "Pass a SHA-256 in lowercase hex, and numbers as the message says.",
    ),
    "ClipTooShortError": (
        "A clip has no samples, or too few for one token of the model.",
        'Leave the row out, or pass `on_error="skip"`.',
    ),
    "SampleRateMismatchError": (
        "A clip has another sample rate than the collator.",
        "Pass `auto_resample=True`, or convert the files beforehand.",
    ),
    "CollatorError": (
        "A batch cannot be made of these rows.",
        "Correct the rows or the arguments.",
    ),
    "EmptyBatchError": ("The collator was called without rows.", "Pass at least one row."),
    "RowError": (
        "A row lacks a key, or one of its values cannot be used.",
        "Correct the row; `ossicle.collator.preflight` finds all such rows at once.",
    ),
    "ClipTooLongError": (
        'With `too_long="error"`, a clip is longer than `max_length_seconds` or than its processor '
        "hears; its text would belong to more than is heard.",
        "Cut the recording and its text into segments (`offset`, `duration`), raise "
        '`max_length_seconds`, or pass `too_long="drop"`.',
    ),
    "TextTooLongError": (
        "`max_length` leaves no room for a row's text or response, or, with "
        '`too_long="error"`, a row has more tokens than `max_length` or the decoder takes.',
        "Raise `max_length`, lower `max_length_seconds`, shorten the prompt or cut the recording "
        "and its text into segments.",
    ),
    "NoLabelError": (
        "A row has no text, or no response, so that there is nothing to compute a loss on.",
        'Check the conversation, or pass `loss_on="all"`.',
    ),
    "StreamError": (
        "A thread or the process of a stream has ended, or the stream was forked or closed.",
        "The message says which. A process that was ended by SIGKILL most likely ran out of "
        "memory: lower `prefetch_bytes`.",
    ),
    "TooManyFaultsError": (
        "More rows are bad than `max_bad_share` allows.",
        "Read the ledger for the reasons; correct the data or raise `max_bad_share`.",
    ),
    "DataError": ("A file of settings is invalid.", "Correct the field that it names."),
    "ManifestError": (
        "A manifest lacks a column, has duplicate ids, or cannot be read.",
        "Correct the manifest; the message names the file, the row or the column.",
    ),
    "MissingStageError": (
        "A stage of the pipeline has no output in the folder.",
        "Run the stage, or leave it out with `stages=`.",
    ),
    "MetadataError": (
        "A recording has no metadata, or it cannot be read.",
        "Check the id and the file that the message names.",
    ),
    "SampleError": (
        "A sample cannot be decoded, or does not fit into its batch.",
        'Correct the sample, or pass `on_error="skip"`.',
    ),
    "ProcessorError": (
        "A processor is unknown, is registered twice, or does not import.",
        "Check its name and its package.",
    ),
    "ExtractError": (
        "The output folder holds another extraction, or a part of one.",
        "Choose another place, or pass `--overwrite`.",
    ),
    "FingerprintError": (
        "Features were made by another encoder.",
        "Extract them again, or load the encoder that made them.",
    ),
    "WhisperLoadError": (
        "No source has the encoder.",
        "Check the name and the network, or pass a local folder or `tiny-random`.",
    ),
    "NanochatLoadError": (
        "A nanochat checkpoint is missing, damaged, or of another architecture.",
        "Check the folder; the message lists the tensors that do not fit.",
    ),
    "TowerLoadError": (
        "A checkpoint has no audio tower that can be loaded.",
        "Check that it is Qwen2.5-Omni or Qwen3-Omni in safetensors.",
    ),
    "TrainingError": (
        "A run cannot go on.",
        "Follow the message: check the data, or lower the learning rate.",
    ),
    "LossDidNotFallError": (
        "The loss fell by less than `loss_drop_min`; everything was written.",
        "Train for more steps, try another learning rate, or lower `loss_drop_min`.",
    ),
    "TooLongError": (
        "A clip is longer than `max_seconds`, or takes more positions than the language model has.",
        "Cut it into segments; or pass `too_long=drop`, or `cut`, which keeps the first part.",
    ),
    "CheckpointError": (
        "A checkpoint cannot be written, is damaged, or is of another run.",
        "Resume from another one, or pass `--overwrite` to start again.",
    ),
    "ConfigError": (
        "A configuration has an unknown key or a value of the wrong type.",
        "Correct the key that the message names.",
    ),
    "SynthesiserError": (
        "espeak-ng is missing or failed.",
        "Install it, or pass `--speaker tones`.",
    ),
    "ValueError": ("An argument or the contents of a file are invalid.", "Follow the message."),
    "TypeError": ("An argument or a value has the wrong type.", "Follow the message."),
    "RuntimeError": ("A call is not possible in this state.", "Follow the message."),
    "ImportError": ("A package is missing.", "Install what the message names."),
    "AudioError": ("One of its children, whose name the message has.", "As for the child."),
    "FileNotFoundError": ("A file is missing.", "Check the path."),
    "ModuleNotFoundError": ("A package is missing.", "Install what the message names."),
    "AttributeError": ("A name is unknown.", "Check the name."),
    "FileExistsError": (
        "A folder or a file exists that would be overwritten.",
        "Choose another one.",
    ),
    "NotADirectoryError": ("A folder is expected.", "Check the path."),
    "IndexError": ("A number is out of range.", "Check it against the length."),
    "KeyError": ("A key is unknown.", "Check the key."),
    "RuntimeWarning": ("Work continues, but not as it should.", "Follow the message."),
    "UserWarning": (
        "Work continues, with other results than might be expected.",
        "Follow the message.",
    ),
    "ResourceWarning": ("A file was not closed.", "Use a `with` statement."),
    "DeprecationWarning": ("An old name still works, for one version.", "Use the new name."),
}

_HEAD = """# Errors

Every message of an error or a warning, by class; `{name}` stands for a value. The page is written
by `python tests/error_page.py` from the sources, and a test compares it with them. An `AudioError`
has the fields `source`, `member`, `byte_offset`, `sample_index` and `reason`; its message is
`SOURCE [MEMBER]: REASON (byte OFFSET)`.

The values of `on_error` mean the same everywhere: `"raise"` raises the first error, `"collect"`
returns errors beside the results, `"skip"` leaves bad rows out and records them in a ledger,
`"replace"` puts good rows in their place, and `"conceal"` puts silence for damage and lists the
gaps.
"""


def page() -> str:
    """The page as the sources have it."""
    found: Messages = defaultdict(set)
    for path in sorted((ROOT / "python" / "ossicle").rglob("*.py")):
        for kind, message in _of_python(path.read_text(encoding="utf-8")):
            found[kind].add(message)
    for path in sorted((ROOT / "rust").rglob("*.rs")):
        if path.name not in ("tests.rs", "oracle.rs", "reference.rs"):
            for kind, message in _of_rust(path.read_text(encoding="utf-8")):
                found[kind].add(message)
    sections = [_section(kind, found[kind]) for kind in ADVICE if found[kind]]
    return "\n".join([_HEAD, *sections])


def unknown() -> set[str]:
    """Classes that are raised and have no advice."""
    found = set()
    for path in (ROOT / "python" / "ossicle").rglob("*.py"):
        found |= {kind for kind, _ in _of_python(path.read_text(encoding="utf-8"))}
    return found - ADVICE.keys()


def _section(kind: str, messages: set[str]) -> str:
    when, what = ADVICE[kind]
    lines = "".join(f"- {_quoted(message)}\n" for message in sorted(messages, key=_by_words))
    return f"## {kind}\n\n**When:** {when}\n\n**What to do:** {what}\n\n{lines}"


def _by_words(message: str) -> tuple[str, str]:
    return re.sub(r"\W", "", message).lower(), message


def _quoted(message: str) -> str:
    text = " ".join(message.split())
    return f"``{text}``" if "`" in text else f"`{text}`"


# Python


def _of_python(source: str) -> Iterator[tuple[str, str]]:
    tree = ast.parse(source)
    makers = dict(_makers(tree))
    for scope in ast.walk(tree):
        if isinstance(scope, ast.FunctionDef):
            for node in ast.walk(scope):
                if isinstance(node, ast.Call):
                    yield from _of_call(node, scope, makers)


def _makers(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Functions that make or raise an error of a class."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name.startswith("_"):
            for node in ast.walk(function):
                if isinstance(node, ast.Return | ast.Raise):
                    value = node.value if isinstance(node, ast.Return) else node.exc
                    if isinstance(value, ast.Call) and _is_class(name := _name(value.func)):
                        yield function.name, name


def _of_call(
    call: ast.Call, scope: ast.FunctionDef, makers: dict[str, str]
) -> Iterator[tuple[str, str]]:
    name = _name(call.func)
    if name == "warn" and len(call.args) > 1:
        name = _name(call.args[1])
    kind = makers.get(name, name)
    if _is_class(kind):
        for argument in call.args:
            for message in _texts(argument, scope):
                if len(re.sub(r"\{[^{}]*\}", "", message).split()) > 1:
                    yield kind, message


def _is_class(name: str) -> bool:
    return name.endswith(("Error", "Warning"))


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", None) or getattr(node, "id", "")


def _texts(node: ast.expr, scope: ast.FunctionDef) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(map(_part, values))
        case ast.IfExp(body=body, orelse=other):
            yield from _texts(body, scope)
            yield from _texts(other, scope)
        case ast.Name(id=name):
            for assigned in ast.walk(scope):
                if isinstance(assigned, ast.Assign) and _name(assigned.targets[0]) == name:
                    yield from _texts(assigned.value, ast.FunctionDef("", body=[]))


def _part(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    inner = value.value if isinstance(value, ast.FormattedValue) else value
    names = [_name(node) for node in ast.walk(inner) if isinstance(node, ast.Name | ast.Attribute)]
    return f"{{{names[0] if names else 'value'}}}"


# Rust

_KINDS = {
    "corrupt": "CorruptAudioError",
    "unsupported": "UnsupportedFormatError",
    "invalid": "InvalidArgumentError",
    "io": "AudioIOError",
    "Io": "AudioIOError",
    "Unsupported": "UnsupportedFormatError",
    "Decode": "DecodeError",
    "Corrupt": "CorruptAudioError",
    "Disagree": "DecodersDisagreeError",
    "NonFinite": "NonFiniteSampleError",
    "Limit": "AudioLimitError",
    "InvalidArgument": "InvalidArgumentError",
    "damaged": "DecodeError",
    "not_here": "UnsupportedFormatError",
    "broken": "CorruptAudioError",
    "Fault": "CorruptAudioError",
    "Damaged": "DecodeError",
}
_CONSTRUCTOR = re.compile(
    r"Error::(corrupt|unsupported|invalid|io)\b|ErrorKind::(\w+)|\b(damaged|not_here|broken|Fault)\("
    r"|Fault::(Damaged|Unsupported)\("
)


def _of_rust(source: str) -> Iterator[tuple[str, str]]:
    source = source[: _end_of_code(source)]
    for start, end, text in _literals(source):
        words = re.sub(r"\{[^{}]*\}", "", text).split()
        if len(words) > 1 and (kind := _kind_near(source, start, end)):
            message = text.replace('\\"', '"').replace("{{", "{").replace("}}", "}")
            if kind == "io":
                kind, message = "AudioIOError", f"cannot {message}: {{error}}"
            yield kind, message


def _end_of_code(source: str) -> int:
    """Where the unit tests at the end begin."""
    found = re.search(r"#\[cfg\(test\)\]\n(#\[.*\]\n)*mod \w+ \{", source)
    return found.start() if found else len(source)


def _literals(source: str) -> Iterator[tuple[int, int, str]]:
    """Strings outside of comments and attributes."""
    token = re.compile(
        r"//[^\n]*|r#\"(.*?)\"#|#!?\[[^\n]*\]|b?'(?:\\.[^']*|[^'\\\n])'|b\"(?:\\.|[^\"\\])*\"|\"((?:\\.|[^\"\\])*)\"",
        re.DOTALL,
    )
    for found in token.finditer(source):
        text = found[2] if found[1] is None else found[1]
        if text is not None:
            yield found.start(), found.end(), re.sub(r"\\\n\s*", "", text)


def _kind_near(source: str, start: int, end: int) -> str | None:
    """By the last constructor before the text in its statement, or the first one after it."""
    before = source[max(0, start - 200) : start]
    before = before[max(before.rfind(";"), before.rfind("}"), before.rfind("=>")) + 1 :]
    found = [*_CONSTRUCTOR.finditer(before)][-1:] or [
        *_CONSTRUCTOR.finditer(source[end : end + 250])
    ][:1]
    if not found:
        return None
    word = next(group for group in found[0].groups() if group)
    return "io" if word == "io" else _KINDS.get(word)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
