"""Tar shards in webdataset's layout: `Shard` reads them."""

from ossicle.shard.reader import AUDIO_EXTENSIONS, Member, Shard

__all__ = ["AUDIO_EXTENSIONS", "Member", "Shard"]
