"""Samples by name, by number and as a stream: a waveform, its rate and what is known of it.

`loaders` read the sample of a ``wav_id``, `dataset` and `shard_stream` hand samples to PyTorch, and
`sampler` chooses their order.
"""
