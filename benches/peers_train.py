"""Training: each group races its own work; `peers_<group>.py` has it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Annotated, Any

import harness
import peers_gpt
import typer
from rich.console import Console

# A group is a module with PEERS, METHOD, rows(rounds, quick) and facts(rows).
GROUPS: dict[str, ModuleType] = {"gpt": peers_gpt}
PACKAGES = ("ossicle", "torch", "transformers", "numpy")
METHOD = """\
One thread on one processor, garbage collector off, contestants interleaved in an order shuffled for
each round. Ratio: processor time of the peer / ours, the median of the rounds' own ratios; above 1
we are faster. Milliseconds: our fastest call. """.replace("\n", " ")


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Groups: {', '.join(GROUPS)}; all by default.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 9,
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny work, 1 round, no record: does it work?")
    ] = False,
    write: Annotated[
        bool, typer.Option("--record/--no-record", help="Write benches/record/.")
    ] = True,
) -> None:
    """Steps of our models against the formulas run naively, and against Hugging Face."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    unknown = set(only or ()) - GROUPS.keys()
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: no such group")
    facts: dict[str, Any] = {
        "machine": harness.machine(),
        "versions": harness.versions(PACKAGES),
    }
    done: list[harness.Row] = []
    for name in only or GROUPS:
        group = GROUPS[name]
        rows = []
        for row in group.rows(1 if quick else rounds, quick):
            harness.show(f"train: {name}", [row], group.PEERS, console)
            rows.append(row)
        facts |= group.facts(rows)
        done += rows
    groups = [GROUPS[name] for name in only or GROUPS]
    peers = list(dict.fromkeys(peer for group in groups for peer in group.PEERS))
    harness.show("train", done, peers, console)
    if write and not quick and not only:
        method = METHOD + " ".join(group.METHOD for group in groups)
        for file in harness.record("train", done, peers, facts, method):
            console.print(f"wrote benches/record/{file.name}")
