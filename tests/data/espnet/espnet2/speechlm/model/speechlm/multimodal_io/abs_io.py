"""The base of all I/Os."""

from typing import Any

from torch import nn


class AbsIO(nn.Module):
    """Knows its modality; every method is optional."""

    def __init__(self, modality: str, is_discrete: bool) -> None:
        super().__init__()
        self.modality = modality
        self.is_discrete = is_discrete

    def _missing(self, *args: Any) -> Any:
        raise NotImplementedError

    preprocess = encode_batch = decode_batch = find_length = copy_for_worker = _missing
    feature_dim = num_stream = get_vocabulary = get_stream_interval = dummy_forward = _missing
