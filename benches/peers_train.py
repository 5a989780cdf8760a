"""Training: each group races its own work; `peers_<group>.py` has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Annotated, Any, NamedTuple

import harness
import peers_encoder
import peers_gpt
import typer
from rich.console import Console


class Group(NamedTuple):
    """Work that is raced.

    Attributes:
        peers: Who races beside us.
        method: What is done, for the record.
        rows: (rounds, quick) to the rows, as they are done.
        facts: Rows to more facts for the record.
    """

    peers: tuple[str, ...]
    method: str
    rows: Callable[[int, bool], Iterable[harness.Row]]
    facts: Callable[[list[harness.Row]], dict[str, Any]]


GROUPS = {
    "gpt": Group(peers_gpt.PEERS, peers_gpt.METHOD, peers_gpt.rows, peers_gpt.facts),
    "encoder": Group(
        ("HF",),
        peers_encoder.METHOD,
        lambda rounds, quick: peers_encoder.rows(rounds, quick)[0],
        lambda rows: {},
    ),
}
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
            harness.show(f"train: {name}", [row], group.peers, console)
            rows.append(row)
        facts |= group.facts(rows)
        done += rows
    groups = [GROUPS[name] for name in only or GROUPS]
    peers = list(dict.fromkeys(peer for group in groups for peer in group.peers))
    harness.show("train", done, peers, console)
    if write and not quick and not only:
        method = METHOD + " ".join(group.method for group in groups)
        for file in harness.record("train", done, peers, facts, method):
            console.print(f"wrote benches/record/{file.name}")
