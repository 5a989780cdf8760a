"""Joins of manifests: the rows of several side by side, matched by ``wav_id``."""

from __future__ import annotations

from ossicle.data.errors import ManifestError
from ossicle.dataloader.outputs.joins import Conflict, How, check_how, join_by_id, unmatched_of
from ossicle.dataloader.outputs.manifest import MetadataManifest

__all__ = ["Conflict", "How", "ManifestJoiner"]


class ManifestJoiner:
    """Joins manifests by ``wav_id``.

    Rows come in the order of the first manifest, in an outer join those follow that are only in the
    second, and so on. Where a manifest lacks a row, its columns are null there.

    Names are matched by 128 bits of their hashes: of ten million names, two that differ are taken
    for one in fewer than one of 10**24 joins.

    Args:
        how: Which rows are kept: ``inner`` those in every manifest, ``left`` those of the first,
            ``outer`` those of any.
        conflict: What becomes of columns that several manifests have. ``error`` raises; ``prefix``
            puts the manifest's source and ``_`` before the name of each; ``first`` and ``last``
            keep one, in each row that of the first or last manifest that has the row. Or a
            function ``(column, {source: expression}) -> expression``, such as
            ``lambda column, of: polars.coalesce(of.values())``.

    Raises:
        ManifestError: `how` or `conflict` is none of these.
    """

    def __init__(self, how: How = "inner", conflict: Conflict = "error") -> None:
        check_how(how, conflict)
        self.how, self.conflict = how, conflict
        self._manifests: list[MetadataManifest] = []

    def add(self, manifest: MetadataManifest) -> ManifestJoiner:
        """Takes one more manifest; returns the joiner itself."""
        if not isinstance(manifest, MetadataManifest):
            raise TypeError(f"a MetadataManifest was expected, not {type(manifest).__name__}")
        self._manifests.append(manifest)
        return self

    def join(self) -> MetadataManifest:
        """The rows of all side by side; lazy, its source is theirs, with ``+`` between them.

        Names alone are read: `MetadataManifest.unmatched` of the result says how many rows of each
        are not in all of the others, and there is a warning where such names differ from those by
        case, spaces, an extension or a folder.

        Raises:
            ManifestError: There is nothing to join, columns conflict (``column`` names the one), or
                no row is in all, because the names differ by one of these; it has an example.
        """
        manifests = self._manifests
        if not manifests:
            raise ManifestError("no manifests to join: call add first")
        if len(manifests) == 1:
            return manifests[0]
        joined = join_by_id(manifests, self.how, self.conflict)
        result = MetadataManifest.of_unique(joined, "+".join(each.source for each in manifests))
        result.unmatched = unmatched_of(manifests)
        _ = result.schema  # raises where a function's expression does not fit
        return result
