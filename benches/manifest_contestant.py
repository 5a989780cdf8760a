"""One contestant of `peers_manifest.py` in a process of its own: work, name, folder as arguments.

It imports what it needs and no more, so that its memory is its own.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OURS = "ossicle"


def join_ossicle(folder: Path) -> Any:
    from ossicle.dataloader import ManifestJoiner, MetadataManifest

    joiner = ManifestJoiner()
    for path in sorted(folder.glob("part*.parquet")):
        joiner.add(MetadataManifest.from_parquet(path, path.stem))
    return joiner.join().df


def join_polars(folder: Path, **options: Any) -> Any:
    import polars as pl

    first, *others = (pl.scan_parquet(path) for path in sorted(folder.glob("part*.parquet")))
    for other in others:
        first = first.join(other, on="wav_id", **options)
    return first.collect()


def join_pandas(folder: Path) -> Any:
    import pandas

    first, *others = sorted(folder.glob("part*.parquet"))
    joined = pandas.read_parquet(first)
    for path in others:
        joined = joined.merge(pandas.read_parquet(path), on="wav_id")
    return joined


def build_ossicle(folder: Path) -> Any:
    from ossicle.dataloader import FilterConfig, build_manifest

    filters = FilterConfig(
        min_speech_ratio=0.2,
        min_snr_db=5.0,
        required_labels=["KCHI"],
        excluded_esc_categories=["music"],
        min_duration=1.0,
    )
    return build_manifest(folder, filters).df


def build_polars(folder: Path, **options: Any) -> Any:
    import polars as pl

    vad = pl.scan_parquet(folder / "vad_meta/metadata.parquet")
    vad = vad.filter("success").rename({"file_id": "uid", "error": "vad_error"})
    vtc = pl.scan_parquet(folder / "vtc_meta/*.parquet").rename({"error": "vtc_error"})
    snr, esc = (pl.scan_parquet(folder / f"{name}_meta/*.parquet") for name in ("snr", "esc"))
    tables = {"vtc": vtc, "snr": snr, "esc": esc}
    for name, table in tables.items():
        kept = table.filter(pl.col(f"{name}_status") != "error")
        vad = vad.join(kept, on="uid", **options)
    counts = pl.col("vtc_label_counts").str.json_path_match("$.KCHI").cast(pl.Int64)
    return vad.filter(
        pl.col("speech_ratio") >= 0.2,
        pl.col("snr_mean") >= 5,
        counts > 0,
        pl.col("dominant_category") != "music",
        pl.col("duration") >= 1,
    ).collect()


def build_pandas(folder: Path) -> Any:
    import pandas

    vad = pandas.read_parquet(folder / "vad_meta/metadata.parquet")
    vad = vad[vad["success"]].rename(columns={"file_id": "uid", "error": "vad_error"})
    vtc = pandas.read_parquet(folder / "vtc_meta").rename(columns={"error": "vtc_error"})
    for name in ("vtc", "snr", "esc"):
        table = vtc if name == "vtc" else pandas.read_parquet(folder / f"{name}_meta")
        vad = vad.merge(table[table[f"{name}_status"] != "error"], on="uid")
    kept = vad[
        (vad["speech_ratio"] >= 0.2)
        & (vad["snr_mean"] >= 5)
        & (vad["dominant_category"] != "music")
        & (vad["duration"] >= 1)
    ]
    return kept[kept["vtc_label_counts"].map(lambda text: json.loads(text).get("KCHI", 0) > 0)]


WORK: dict[str, dict[str, Callable[[Path], Any]]] = {
    "join": {
        OURS: join_ossicle,
        "polars": join_polars,
        "polars in order": lambda folder: join_polars(folder, maintain_order="left"),
        "polars checked": lambda folder: join_polars(folder, validate="1:1"),
        "pandas": join_pandas,
    },
    "build": {
        OURS: build_ossicle,
        "polars": build_polars,
        "polars in order": lambda folder: build_polars(folder, maintain_order="left"),
        "polars checked": lambda folder: build_polars(folder, validate="1:1"),
        "pandas": build_pandas,
    },
}


def contend(work: str, name: str, folder: str) -> dict[str, Any]:
    """One contestant, in this process: seconds, peak memory, and what the rows come to."""
    _import(name)
    wall, cpu = time.perf_counter(), time.process_time()
    table = WORK[work][name](Path(folder))
    taken = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    peak = _peak()
    numbers = [name for name in table.columns if str(table[name].dtype).lower() == "float64"]
    sums = {name: round(float(table[name].sum()), 2) for name in sorted(numbers)}
    return taken | {"peak": peak, "rows": len(table), "sums": sums}


def _import(name: str) -> None:
    """What a contestant imports is not timed."""
    if name == "pandas":
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401
    else:
        import polars  # noqa: F401
    if name == OURS:
        from ossicle.dataloader import ManifestJoiner, build_manifest  # noqa: F401


def _peak() -> int:
    """Bytes; getrusage would tell what the parent had when it forked, where that is more."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kilobytes) * 1024


if __name__ == "__main__":
    print(json.dumps(contend(*sys.argv[1:])))
