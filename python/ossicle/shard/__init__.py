"""Tar shards in webdataset's layout: `Shard` reads them, `ShardWriter` and `pack` write them."""

from ossicle.shard.pack import PackError, PackResult, pack
from ossicle.shard.reader import AUDIO_EXTENSIONS, Member, Shard
from ossicle.shard.writer import ShardWriter, WrittenShard

__all__ = [
    "AUDIO_EXTENSIONS",
    "Member",
    "PackError",
    "PackResult",
    "Shard",
    "ShardWriter",
    "WrittenShard",
    "pack",
]
