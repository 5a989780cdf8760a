"""Features of a frozen encoder, extracted once into tar shards and read back for training."""

from __future__ import annotations

from ossicle.extract.features import FeatureClip, FeatureShards, FingerprintError

__all__ = ["FeatureClip", "FeatureShards", "FingerprintError"]
