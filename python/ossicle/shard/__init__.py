"""Tar shards in webdataset's layout: `Shard` reads them, `index_shards` makes their indexes."""

from ossicle.shard.index import index_path, index_shards
from ossicle.shard.reader import AUDIO_EXTENSIONS, Member, Shard

__all__ = ["AUDIO_EXTENSIONS", "Member", "Shard", "index_path", "index_shards"]
