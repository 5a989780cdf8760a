"""WebDataset shards: tar archives of samples, in place, by key and by number.

Opening a shard reads and checks every header, unless a fresh index beside it says what they say
(`index_shards`). A cut, a flipped bit in a header, data after the end, two members of one name,
links and names that lead out of a folder are errors with the member and the byte; nothing ends
early. Payloads have no checksum in a tar, nor have the names of members whose name is long; an
index has digests.

Members are grouped as webdataset groups them: the key of ``a/b.c/utt.seg.JSON`` is ``a/b.c/utt``,
its extension ``seg.json``. But nothing is dropped: a name without a dot has the extension ``""``,
one that begins with a dot the key of its folder. Members of one key are one sample wherever they
lie in the shard, at the place of the first. Only what lies under a first part like ``__this__``
belongs to no sample; `Shard.members` lists it.

A shard must not change while it is open: size, times of modification and of change and inode are
compared at each ``shard[...]``, each ``load`` and all along an iteration, and a difference is an
`AudioIOError`. So it is where a shard or a member that was pickled is opened in another process.
What is decoded is read, not mapped, and compared again after each read. Views into the map are
the caller's own: truncating a file while other processes read such a view kills them
(SIGBUS), as with `numpy.memmap`. ``access="pread"`` gives copies instead; network file systems
have it by default.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ossicle import _native
from ossicle.audio import info, load, load_concealed
from ossicle.audio.notebook import table
from ossicle.data.members import pointer_in_json, split_name
from ossicle.data.opening import refuse_compressed
from ossicle.data.recordings import Recording
from ossicle.data.segments import Segment
from ossicle.errors import AudioError, CorruptAudioError, InvalidArgumentError

if TYPE_CHECKING:
    from ossicle.audio import ConcealedClip, FloatArray

__all__ = ["AUDIO_EXTENSIONS", "Member", "Shard"]

AUDIO_EXTENSIONS = frozenset(_native.AUDIO_EXTENSIONS)
"""What audio is known by, where several members make a sample: the last part of an extension."""


class Member(NamedTuple):
    """Where a file lies in a shard.

    Attributes:
        name: Its path in the archive.
        offset: The first byte of its payload.
        size: Bytes of its payload.
        header_offset: The first byte of its header, or of those about it in front of that.
    """

    name: str
    offset: int
    size: int
    header_offset: int


class Shard:
    """A tar shard.

    Iterating gives the samples in the order of the tar: ``{"__key__": key, extension: view, ...}``
    with read-only memoryviews, no copies, that keep the map alive without the shard. ``shard[key]``
    and ``shard[number]`` give one. A shard can be used from many threads, across a fork, and
    pickled: it is then opened anew, and has to be the same.

    Args:
        path: The file.
        access: ``"mmap"`` hands out views into a map of the file, ``"pread"`` copies; ``"auto"``
            maps on file systems that are known to be local.
        index: None opens by the index beside the shard while that is fresh and whole, so that no
            header is read, and by the headers otherwise; False always reads the headers; members
            are what `members` gave, where they are known. Of a shard that is opened by an index the
            header of each member is read when that is asked for.
        identity: What the attribute of this name was when the shard was opened before: another one
            at its path is an error. On another machine, where a copy has times of its own, size and
            members tell.

    Raises:
        AudioIOError: The file cannot be read, or is not the one of ``identity``.
        CorruptAudioError: It is no whole tar, or two members would hide each other.
        UnsupportedFormatError: It holds what no shard may: links, devices, sparse files, absolute
            names and names with ``..``.
        InvalidArgumentError: An unknown ``access``, or an index of another file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        access: Literal["auto", "mmap", "pread"] = "auto",
        index: Iterable[Member] | Literal[False] | None = None,
        identity: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.access = access
        self._index = index if index is None or index is False else [Member(*one) for one in index]
        members = None if self._index is False else self._index
        try:
            self._open: _native.Shard | None = _native.Shard(
                self.path, access, members, self._index is False, identity
            )
        except CorruptAudioError:
            refuse_compressed(Path(self.path))
            raise
        self._identity = identity

    @property
    def _shard(self) -> _native.Shard:
        if self._open is None:
            raise InvalidArgumentError("the shard is closed", source=self.path)
        return self._open

    def __len__(self) -> int:
        return len(self._shard)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._shard)

    def __getitem__(self, key: str | int) -> dict[str, Any]:
        return self._shard.sample(self._number(key))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._shard.find(key) is not None

    def _repr_html_(self) -> str:
        shown = range(min(len(self), 20))
        rows = [(self.key(n), ", ".join(self.extensions(n)) or "-") for n in shown]
        more = f", the first {len(rows)} shown" if len(rows) < len(self) else ""
        bytes_of_all = sum(member.size for member in self.members())
        facts = f"{len(self):,} samples{more}, {bytes_of_all:,} bytes of members"
        return table(("key", "members"), rows, caption=f"{self.path}: {facts}")

    @property
    def identity(self) -> str:
        """What tells the shard from another one that lies at its path later."""
        if self._identity is None:
            self._identity = self._shard.identity()
        return self._identity

    @property
    def is_indexed(self) -> bool:
        """Whether it was opened by an index."""
        return self._shard.is_indexed()

    def keys(self) -> list[str]:
        """The samples' keys, in their order."""
        return self._shard.keys()

    def members(self) -> list[Member]:
        """All files in the shard, in its order."""
        return [Member(*member) for member in self._shard.members()]

    def member(self, key: str | int, extension: str | None = None) -> _native.ShardMember:
        """A source for `ossicle.load`, `info` and `load_batch`; nothing is read yet.

        Args:
            key: The sample's key or number.
            extension: Which of its members; None takes the only one that is audio by its extension.

        Raises:
            KeyError, IndexError: There is no such sample.
            InvalidArgumentError: It has no such member, or none or several that are audio; or it is
                a segment, of which the member alone is too much: see `recording`.
        """
        number = self._number(key)
        if extension is None and self._pointer(number) is not None:
            why = f"the sample {self.key(number)!r} is a segment of a recording: use recording(key)"
            raise InvalidArgumentError(f"{why}, or load(key)", source=self.path)
        chosen = self._audio_extension(number) if extension is None else extension.lower()
        found = self._shard.member(number, chosen)
        if found is None:
            raise self._unclear(number, f"no member with the extension {chosen!r}")
        return found

    def recording(self, key: str | int, extension: str | None = None) -> Recording:
        """A sample's recording, as ``source``, with the ``segment`` that is meant of it.

        Samples that `ossicle.shard.pack` wrote with ``segments="keep"`` point to the recording that
        is there once; all others are whole.

        Args:
            key: The sample's key or number.
            extension: Which of its members; None takes the only one that is audio by its extension,
                or the one that it points to.

        Raises:
            KeyError, IndexError: There is no such sample.
            InvalidArgumentError: It has no such member, or none or several that are audio, or
                points to one that is not in the shard.
        """
        number = self._number(key)
        found = self._pointer(number)
        name, segment = found or (None, Segment())
        if name is None or extension is not None:
            chosen = self._audio_extension(number) if extension is None else extension
            member = self.member(number, chosen)
        else:
            member = self._pointed(number, name)
        return Recording(member, f"{self.path} [{member.name}]", segment=segment)

    def _pointed(self, number: int, name: str) -> _native.ShardMember:
        key, extension = split_name(name)
        at = self._shard.find(key)
        found = None if at is None else self._shard.member(at, extension)
        if found is None:
            why = f"the sample {self.key(number)!r} points to {name!r}, which is not in the shard"
            raise InvalidArgumentError(why, source=self.path)
        return found

    def _pointer(self, number: int) -> tuple[str | None, Segment] | None:
        if "json" not in self._shard.extensions(number):
            return None
        data = self._shard.read(number, "json")
        return None if data is None else pointer_in_json(data)

    def recordings(self) -> Iterator[_native.ShardMember]:
        """Each member that is audio by its extension, as `member` gives it, by sample."""
        for number in range(len(self)):
            for extension in self._shard.extensions(number):
                if extension.rpartition(".")[2] in AUDIO_EXTENSIONS:
                    yield self.member(number, extension)

    def read(self, key: str | int, extension: str) -> bytes:
        """A member's bytes, read and not mapped: whatever becomes of the shard, they stay.

        Args:
            key: The sample's key or number.
            extension: Which of its members.

        Raises:
            KeyError, IndexError: There is no such sample.
            InvalidArgumentError: It has no such member.
            AudioIOError: The shard has changed.
        """
        number, chosen = self._number(key), extension.lower()
        found = self._shard.read(number, chosen)
        if found is None:
            raise self._unclear(number, f"no member with the extension {chosen!r}")
        return found

    def key(self, number: int) -> str:
        """The key of a sample."""
        return self._shard.key(self._number(number))

    def extensions(self, key: str | int) -> list[str]:
        """The extensions of a sample's members, in their order."""
        return self._shard.extensions(self._number(key))

    def load(
        self,
        key: str | int,
        sample_rate: int | None = None,
        *,
        extension: str | None = None,
        **options: Any,
    ) -> tuple[FloatArray, int]:
        """Decodes a sample's audio in place, or a range of it, in one call that releases the GIL.

        Of a sample that is a segment of a recording (see `recording`), ranges are of the segment.

        Args:
            key: The sample's key or number.
            sample_rate: As for `ossicle.load`, like the other arguments.
            extension: As for `member`.
            **options: ``mono``, ``offset``, ``duration``, ``channel``, ``allow_nonfinite``,
                ``verify``, ``quality``, ``strict``, ``decoder`` and ``dtype`` of `ossicle.load`.

        Raises:
            KeyError, IndexError: There is no such sample.
            AudioError: The child that fits, with the shard, the member, the byte (of the shard) and
                the reason.
        """
        recording = self.recording(key, extension)
        return load(recording.source, sample_rate, **_within(recording, sample_rate, options))

    def load_concealed(
        self,
        key: str | int,
        sample_rate: int | None = None,
        *,
        extension: str | None = None,
        **options: Any,
    ) -> ConcealedClip:
        """Decodes a sample's audio as `ossicle.load_concealed` does, with silence for damage.

        Args:
            key: The sample's key or number.
            sample_rate: As for `load`, like the other arguments.
            extension: As for `member`.
            **options: As for `load`.

        Raises:
            KeyError, IndexError: There is no such sample.
            AudioError: As for `load`, where the member gives no samples at all.
        """
        recording = self.recording(key, extension)
        chosen = _within(recording, sample_rate, options)
        return load_concealed(recording.source, sample_rate, **chosen)

    def verify(self) -> list[AudioError]:
        """Reads the shard again, headers and payloads, and lists all that is wrong.

        Payloads are compared with the digests of the index beside the shard, where there is one.
        """
        errors: list[AudioError] = []
        try:
            self._shard.check_unchanged()
        except AudioError as error:
            errors.append(error)
        (found,) = _native.verify_shards([self.path], 1, False, "native", None)
        return errors + found

    def close(self) -> None:
        """Lets go of the file; views of members stay valid."""
        self._open = None

    def __enter__(self) -> Shard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        identity = self._identity if self._open is None else self.identity
        return _reopen, (self.path, self.access, self._index, identity)

    def __repr__(self) -> str:
        state = "closed" if self._open is None else f"{len(self)} samples"
        return f"<Shard {self.path!r}: {state}>"

    def _number(self, key: str | int) -> int:
        """A sample's number from its key, or from a number that may count from the end."""
        if isinstance(key, str):
            found = self._shard.find(key)
            if found is None:
                raise KeyError(key)
            return found
        number, count = operator.index(key), len(self)
        if not -count <= number < count:
            raise IndexError(f"sample {number} of {count}")
        return number % count

    def _audio_extension(self, number: int) -> str:
        extensions = self._shard.extensions(number)
        audio = [one for one in extensions if one.rpartition(".")[2] in AUDIO_EXTENSIONS]
        if len(audio) == 1:
            return audio[0]
        raise self._unclear(number, "several audio members" if audio else "no audio member")

    def _unclear(self, number: int, what: str) -> InvalidArgumentError:
        key, extensions = self.keys()[number], ", ".join(self._shard.extensions(number))
        reason = f"the sample {key!r} has {what}; its extensions are: {extensions}"
        return InvalidArgumentError(reason, source=self.path)


def _within(
    recording: Recording, sample_rate: int | None, options: dict[str, Any]
) -> dict[str, Any]:
    """The options of `load` for a range of a recording's segment."""
    segment = recording.segment
    if segment.is_whole:
        return options
    rate = info(recording.source).sample_rate if sample_rate is None else sample_rate
    offset, duration = options.get("offset", 0.0), options.get("duration")
    part = segment.inside(offset, duration, rate)
    chosen = {**options, "offset": part.offset, "duration": part.duration}
    return chosen if part.channel is None else {**chosen, "channel": part.channel, "mono": True}


def _reopen(
    path: str,
    access: Literal["auto", "mmap", "pread"],
    index: list[Member] | Literal[False] | None,
    identity: str | None = None,
) -> Shard:
    return Shard(path, access=access, index=index, identity=identity)
