"""`ContinuousAudioIO`: audio as continuous features for ESPnet's SpeechLM.

The contract is that of ``espnet2.speechlm.model.speechlm.multimodal_io.audio.ContinuousAudioIO``,
and what the SpeechLM job and model do with it. In the workers of a data loader `preprocess` makes
log-mel features with the native module; on the device `encode_batch` turns a padded batch of them
into tokens. docs/espnet.md shows the whole way.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ossicle.audio.resampling import Quality, check_quality, check_rate, resample
from ossicle.audio.waveforms import as_float32
from ossicle.collator import ClipTooShortError
from ossicle.errors import InvalidArgumentError, NonFiniteSampleError
from ossicle.features.mel import HOP_LENGTH, SAMPLE_RATE, FloatArray, log_mel_spectrogram
from ossicle.model.qwen_omni import load_tower, random_tower, tower_shape

__all__ = ["AbsIO", "ContinuousAudioIO", "mel_frames", "register_espnet"]

_SPEECHLM: Final = "espnet2.speechlm.model.speechlm"
_DUMMY_FRAMES: Final = 4

Count = TypeVar("Count", int, Tensor)
IntArray: TypeAlias = npt.NDArray[np.int32]
Audio: TypeAlias = tuple[npt.ArrayLike, int]
"""A waveform ``(C, N)`` or ``(N,)``, and its rate in Hz."""


class _LocalAbsIO(nn.Module):
    """ESPnet's ``AbsIO`` in shape: what stands in for it where ESPnet cannot be imported."""

    def __init__(self, modality: str, is_discrete: bool) -> None:
        super().__init__()
        self.modality = modality
        self.is_discrete = is_discrete

    def _absent(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    preprocess = encode_batch = decode_batch = find_length = copy_for_worker = _absent
    feature_dim = num_stream = dummy_forward = _absent
    get_vocabulary = get_stream_interval = get_stream_weight = _absent


def _abs_io() -> Any:
    try:
        return importlib.import_module(f"{_SPEECHLM}.multimodal_io.abs_io").AbsIO
    except Exception:  # a broken installation raises anything; register_espnet says what
        return _LocalAbsIO


if TYPE_CHECKING:
    AbsIO = _LocalAbsIO
else:
    AbsIO = _abs_io()


def mel_frames(samples: Count, sample_rate: int = SAMPLE_RATE) -> Count:
    """Mel frames of a clip of ``samples`` at ``sample_rate`` Hz: its whole hundredths of a second.

    An int for an int; for an integer tensor one of int64 on its device.
    """
    count = samples.long() if isinstance(samples, Tensor) else samples
    return count * (SAMPLE_RATE // HOP_LENGTH) // sample_rate


class ContinuousAudioIO(AbsIO):
    """Turns audio into the tokens of Qwen2.5-Omni's or Qwen3-Omni's audio tower.

    A subclass of ESPnet's ``AbsIO`` where ESPnet can be imported, else of a class of its shape.
    Features are those of the checkpoint's own extractor, within 1e-5; a clip's tokens do not depend
    on its batch. `preprocess`, `find_length` and `encode_batch` count by one function, `mel_frames`
    and then the tower's own arithmetic.

    Args:
        encoder_choice: ``"huggingface"``; there is no other.
        encoder_hf_model_tag: A Hugging Face id or a local folder of a Qwen2.5-Omni or Qwen3-Omni,
            its thinker, or its audio tower alone; only the tower's weights are read.
        attn_implementation: As for transformers' ``from_pretrained``; None takes its choice.
        dtype: Of the tower, a name such as ``"bfloat16"`` or a ``torch.dtype``.
        device: Where the tower goes.
        config: Instead of the tag, a config of transformers: a tower with random weights.
        tower: Instead of both, a ready tower, which is taken as it is; ``dtype``, ``device`` and
            ``attn_implementation`` are not applied to it.
        on_short: What `preprocess` does with a clip that is too short for one token (less than
            30 ms for Qwen2.5-Omni, 10 ms for Qwen3-Omni): ``"empty"`` warns and gives zero tokens,
            as ESPnet's own does, ``"raise"`` a `ClipTooShortError`. `find_length` gives 0.
        quality: Of resampling, as for `ossicle.resample`.

    Attributes:
        model: Holds the tower as ``model.audio_tower``, the name in ESPnet's checkpoints; None in a
            copy for workers.
        sample_rate, hop_length, n_mels: Of the features: 16,000 Hz, 160 samples, usually 128 bands.

    Raises:
        InvalidArgumentError: An argument makes no sense, or the model is of another kind.
        TowerLoadError: The checkpoint's tower cannot be loaded.
    """

    def __init__(
        self,
        encoder_choice: str = "huggingface",
        encoder_hf_model_tag: str = "Qwen/Qwen2.5-Omni-7B",
        attn_implementation: str | None = None,
        dtype: str | torch.dtype = "bfloat16",
        device: str | torch.device = "cpu",
        *,
        config: Any = None,
        tower: Any = None,
        on_short: Literal["empty", "raise"] = "empty",
        quality: Quality = "high",
    ) -> None:
        super().__init__(modality="audio", is_discrete=False)
        if encoder_choice != "huggingface":
            raise InvalidArgumentError(
                f'encoder_choice must be "huggingface", not {encoder_choice!r}'
            )
        if on_short not in ("empty", "raise"):
            raise InvalidArgumentError(f'on_short must be "empty" or "raise", not {on_short!r}')
        if config is not None and tower is not None:
            raise InvalidArgumentError("config and tower exclude each other: pass one")
        self.encoder_choice = encoder_choice
        self.encoder_hf_model_tag = encoder_hf_model_tag
        self.attn_implementation = attn_implementation
        self.on_short = on_short
        self.quality = check_quality(quality)
        if tower is None:
            options: Any = {"dtype": _dtype(dtype), "attn_implementation": attn_implementation}
            if config is None:
                tower = load_tower(encoder_hf_model_tag, **options)
            else:
                tower = random_tower(config, **options)
            tower = tower.to(device)
        self.shape = tower_shape(tower)
        self.sample_rate, self.hop_length = SAMPLE_RATE, HOP_LENGTH
        self.n_mels, self.d_model = self.shape.n_mels, self.shape.dim
        self.model: nn.ModuleDict | None = nn.ModuleDict({"audio_tower": tower})

    def feature_dim(self) -> int:
        """Features of a token."""
        return self.d_model

    def find_length(
        self, data: Audio | None, before_length: int | Tensor | None = None
    ) -> int | Tensor:
        """Tokens of a clip, without computing them.

        Args:
            data: The clip as for `preprocess`; only its shape is looked at. Ignored, and may be
                None, where ``before_length`` is given.
            before_length: Mel frames of one clip, or an integer tensor of those of many.

        Returns:
            An int; for a tensor a tensor of its shape, type and device.

        Raises:
            InvalidArgumentError: A shape or a rate that makes no sense.
        """
        if isinstance(before_length, Tensor):
            return self.shape.tokens(before_length)
        return self.shape.tokens(_frames(data) if before_length is None else int(before_length))

    def preprocess(self, data: Audio) -> tuple[IntArray, tuple[int, FloatArray], FloatArray]:
        """Log-mel features of one clip, and room for its tokens in a sequence.

        Args:
            data: ``(waveform, rate)``: ``(C, N)`` or ``(N,)``, floats, or int8, int16, int32 or
                uint8 at full scale, at any rate in Hz. Channels are averaged, then resampled to
                16 kHz.

        Returns:
            ``(zeros (L, 1) int32, (L, features (T, n_mels) float32), zeros (L, 1) float32)``: the
            place of L tokens, the T mel frames that they are made of, and their loss mask.

        Raises:
            InvalidArgumentError: A shape, a type or a rate that makes no sense.
            NonFiniteSampleError: A sample is NaN or infinite.
            ClipTooShortError: With ``on_short="raise"``, no token can be made of the clip.
        """
        frames = _frames(data)
        tokens = self.shape.tokens(frames)
        if tokens == 0:
            self._too_short(data)
        log_mel = log_mel_spectrogram(
            self._clip(*data), n_mels=self.n_mels, pad_to_seconds=None
        )  # has one more frame where a hundredth of a second has begun
        features = np.ascontiguousarray(log_mel[:, :frames].T)
        places, loss_mask = np.zeros((tokens, 1), np.int32), np.zeros((tokens, 1), np.float32)
        return places, (tokens, features), loss_mask

    def encode_batch(self, batch_data: Tensor, length: Tensor) -> list[Tensor]:
        """The tower's tokens of clips whose features are padded to one length.

        Args:
            batch_data: ``(B, T, n_mels)``, on the tower's device, of any floating type; what is
                after a clip's own frames is not looked at.
            length: ``(B,)``, each clip's own mel frames.

        Returns:
            For each clip ``(L, feature_dim)`` of the tower's type, with L as `find_length` has it.
            Where a batch has no token at all, the tower runs on silence, so that its parameters
            take part in the backward pass of every rank.

        Raises:
            InvalidArgumentError: Shapes that do not fit, or this is a copy for workers.
        """
        lengths = torch.as_tensor(length).long().cpu()
        self._check_batch(batch_data, lengths)
        tokens = self.shape.tokens(lengths)
        # The tower takes no clip of zero frames: it would cut the chunks of all others wrongly.
        frames = lengths[tokens > 0].tolist()
        counts = tokens.tolist()
        clips = [
            clip[:n] for clip, n, count in zip(batch_data, lengths, counts, strict=True) if count
        ]
        if max(frames, default=0) < self.shape.least_frames:
            frames.append(self.shape.least_frames)
            clips.append(batch_data.new_zeros(frames[-1], self.n_mels))
            counts.append(self.shape.tokens(frames[-1]))
        hidden = self._run_tower(clips, frames, sum(counts))
        return list(torch.split(hidden, counts)[: len(lengths)])

    def dummy_forward(self, ref_tensor: Tensor) -> Tensor:
        """Runs the tower on four frames of silence, for ranks whose batch has no audio.

        Args:
            ref_tensor: Gives device and type of the frames.

        Returns:
            ``(1, feature_dim)``, as `encode_batch` gives it, not summed; going backward from it
            gives a gradient to every parameter to which audio gives one.
        """
        options: dict[str, Any] = {"device": ref_tensor.device, "dtype": ref_tensor.dtype}
        silence = torch.zeros(1, _DUMMY_FRAMES, self.n_mels, **options)
        return self.encode_batch(silence, torch.tensor([_DUMMY_FRAMES]))[0]

    def copy_for_worker(self) -> ContinuousAudioIO:
        """A copy that can `preprocess` and `find_length`, without the tower; nothing is loaded.

        It pickles in a few hundred bytes.
        """
        worker = type(self).__new__(type(self))
        AbsIO.__init__(worker, modality=self.modality, is_discrete=self.is_discrete)
        plain = {name: value for name, value in vars(self).items() if name not in vars(worker)}
        vars(worker).update(plain)
        worker.model = None
        return worker

    def _clip(self, waveform: npt.ArrayLike, rate: int) -> FloatArray:
        """``(samples,)`` at 16 kHz."""
        planes = np.atleast_2d(as_float32(waveform))
        clip = planes[0] if len(planes) == 1 else planes.mean(axis=0, dtype=np.float32)
        finite = np.isfinite(clip)
        if not finite.all():
            at = int(finite.argmin())
            raise NonFiniteSampleError(f"sample {at} is {clip[at]}", sample_index=at)
        rate = check_rate(rate, "the rate")
        return (
            clip if rate == SAMPLE_RATE else resample(clip, rate, SAMPLE_RATE, quality=self.quality)
        )

    def _too_short(self, data: Audio) -> None:
        samples, rate = np.shape(data[0])[-1], data[1]
        reason = f"{samples} samples at {rate} Hz are too few for one token"
        if self.on_short == "raise":
            raise ClipTooShortError(reason)
        warnings.warn(f"{reason}: the model gets no audio", RuntimeWarning, stacklevel=3)

    def _check_batch(self, features: Tensor, lengths: Tensor) -> None:
        if features.dim() != 3 or features.shape[2] != self.n_mels:
            shape = tuple(features.shape)
            raise InvalidArgumentError(f"features are (B, T, {self.n_mels}), not {shape}")
        if lengths.shape != features.shape[:1]:
            shape = tuple(lengths.shape)
            raise InvalidArgumentError(f"lengths are ({len(features)},), not {shape}")
        if bool(((lengths < 0) | (lengths > features.shape[1])).any()):
            text = f"0 to {features.shape[1]} mel frames"
            raise InvalidArgumentError(f"lengths are {text}, not {lengths.tolist()}")

    def _run_tower(self, clips: list[Tensor], frames: list[int], expected: int) -> Tensor:
        """``(sum of tokens, dim)`` of clips ``(frames, n_mels)``."""
        if self.model is None:
            raise InvalidArgumentError("this copy for workers has no encoder")
        tower: Any = self.model["audio_tower"]
        packed = torch.cat(clips).to(tower.dtype)
        lengths = torch.tensor(frames, device=packed.device)
        output = tower(packed.T, **self.shape.arguments(lengths))
        # An object or a tuple, by the version of transformers and the config's return_dict.
        hidden: Tensor = output if isinstance(output, Tensor) else output[0]
        if len(hidden) != expected:
            raise RuntimeError(
                f"the tower made {len(hidden)} tokens where {expected} were expected"
            )
        return hidden


def register_espnet() -> None:
    """Makes ESPnet's SpeechLM job use `ContinuousAudioIO` for ``continuous_audio``.

    Call it before the job is made, in the process that makes it.

    Raises:
        ImportError: ESPnet cannot be imported, or has no table of I/Os where this looks for it.
    """
    try:
        base = importlib.import_module(f"{_SPEECHLM}.multimodal_io.abs_io").AbsIO
        table = importlib.import_module(f"{_SPEECHLM}.speechlm_job")._multimodal_ios
    except Exception as error:  # a broken installation raises anything
        raise ImportError(
            f"ESPnet's SpeechLM cannot be used: {type(error).__name__}: {error}. It comes with "
            "ESPnet's repository; the package `espnet` on PyPI leaves it out as of 202511."
        ) from error
    if not issubclass(ContinuousAudioIO, base):
        raise ImportError("ossicle.espnet was imported before ESPnet: import ESPnet first")
    table["continuous_audio"] = ContinuousAudioIO


def _frames(data: Audio | None) -> int:
    if data is None:
        raise InvalidArgumentError("pass a clip or its number of mel frames")
    waveform, rate = data
    shape: tuple[int, ...] = np.shape(waveform)
    channels, samples = (1, *shape)[-2:] if len(shape) in (1, 2) else (0, 0)
    if channels == 0 or 0 < samples < channels:
        raise InvalidArgumentError(f"a waveform is (C, N) or (N,), not {shape}")
    return mel_frames(samples, check_rate(rate, "the rate"))


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InvalidArgumentError(f"dtype must be the name of a floating type, not {dtype!r}")
    return found
