"""`bn-compare selftest`: runs the self-test, shows its progress on stderr, prints its table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from compare.backends import protocol
from compare.selftest.bugs import Mutation
from compare.selftest.runner import Call, Caught, chosen, selftest, summary
from compare.spec import FRAMEWORKS, Settings
from compare.study.workers import Worker


def run(names: Sequence[str], *, only_quick: bool, as_json: bool) -> int:
    """Run the self-test and print what came of it.

    Args:
        names: Mutations to inject; empty for all.
        only_quick: Whether all means one per rung; then no smallest sizes are looked for either.
        as_json: Whether to print JSON and nothing else.

    Returns:
        The exit code: 0 if every mutation was caught where expected, 1 otherwise.

    Raises:
        InputError: A name is unknown.
        MissingDependencyError: A framework is not installed.
    """
    mutations = chosen(names, only_quick=only_quick)
    protocol.check_installed(FRAMEWORKS)
    with ExitStack() as stack:
        settings = Settings(dtype="float64")
        workers = {name: stack.enter_context(Worker(name, settings)) for name in FRAMEWORKS}
        for worker in workers.values():
            worker.ready()
        calls: Mapping[str, Call] = {name: worker.call for name, worker in workers.items()}
        found = selftest(mutations, calls, shrink=not only_quick)
        return show(_watched(found, mutations), as_json=as_json)


def show(found: Iterable[Caught], *, as_json: bool) -> int:
    """Print the results on stdout; returns the exit code."""
    results = list(found)
    caught = sum(result.caught for result in results)
    if as_json:
        print(json.dumps(summary(results), allow_nan=False))
    else:
        # A pipe has no width of its own, and a table cut at 80 columns is of no use in a file.
        console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
        console.print(_table(results))
        print(f"\n{caught} of {len(results)} caught where they must be")
        for result in results:
            if result.misexplained:
                wrong = ", ".join(result.misexplained)
                print(f"{result.mutation.name}: {wrong} is named and does not explain it")
    return 0 if results and caught == len(results) else 1


def _watched(found: Iterator[Caught], mutations: Sequence[Mutation]) -> Iterator[Caught]:
    """Hand results on; a bar on a terminal, a line per mutation elsewhere. stderr alone."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(mutations[0].name, total=len(mutations))
        for number, result in enumerate(found, start=1):
            following = mutations[min(number, len(mutations) - 1)].name
            bar.update(task, completed=number, description=following)
            if not console.is_terminal:
                verdict = "caught" if result.caught else "NOT CAUGHT"
                text = f"[{number}/{len(mutations)}] {result.mutation.name}: {verdict}"
                console.print(text, markup=False, highlight=False)
            yield result


def _table(results: Sequence[Caught]) -> Table:
    headings = ("mutation", "variant", "expected", "caught", "at", "explained by", "smallest size")
    table = Table(*headings)
    for result in results:
        table.add_row(*_cells(result), style=None if result.caught else "bold red")
    return table


def _cells(result: Caught) -> tuple[str, ...]:
    mutation, found = result.mutation, result.divergence
    expected = f"{mutation.expected_rung} {mutation.expected_layer}"
    size = "" if result.smallest_size is None else f"{result.smallest_size:.0e} {mutation.unit}"
    if found is None:
        return mutation.name, mutation.variant, expected, "nowhere", "", "", size
    caught = "as expected" if result.caught else f"{found.rung} {found.layer}"
    unit = "epoch" if found.rung in (2, 10, 11) else "step"
    step = "" if found.step is None else f"{unit} {found.step}"
    named = ", ".join(found.explained_by)
    return mutation.name, mutation.variant, expected, caught, step, named, size
