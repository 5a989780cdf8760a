"""Tar shards in webdataset's layout: read, written, indexed, packed, verified and repaired."""

from ossicle.shard.index import index_path, index_shards
from ossicle.shard.pack import PackError, PackResult, pack
from ossicle.shard.reader import AUDIO_EXTENSIONS, Member, Shard
from ossicle.shard.verify import (
    Remark,
    Repair,
    repair_shard,
    shard_remarks,
    verify_recordings,
    verify_shards,
)
from ossicle.shard.writer import ShardWriter, WrittenShard

__all__ = [
    "AUDIO_EXTENSIONS",
    "Member",
    "PackError",
    "PackResult",
    "Remark",
    "Repair",
    "Shard",
    "ShardWriter",
    "WrittenShard",
    "index_path",
    "index_shards",
    "pack",
    "repair_shard",
    "shard_remarks",
    "verify_recordings",
    "verify_shards",
]
