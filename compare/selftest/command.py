"""`bn-compare selftest`: runs the self-test, shows its progress on stderr, prints its table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from compare.backends.loading import check_installed
from compare.console import Table, announcing
from compare.selftest.runner import Call, Caught, chosen, selftest
from compare.spec import FRAMEWORKS, Settings
from compare.study.workers import Worker

_HEADINGS = ("mutation", "variant", "expected", "caught", "at", "explained by", "smallest size")


def run(names: Sequence[str], *, only_quick: bool, as_json: bool) -> int:
    """Run the self-test and print what came of it.

    Args:
        names: Bugs to inject; empty for all of the package's.
        only_quick: Whether to leave out the search for smallest sizes.
        as_json: Whether to print JSON and nothing else.

    Returns:
        The exit code: 0 if every bug was caught where expected, 1 otherwise.

    Raises:
        InputError: A name is unknown.
        MissingDependencyError: A framework is not installed.
    """
    bugs = chosen(names)
    check_installed(FRAMEWORKS)
    with ExitStack() as stack:
        say = stack.enter_context(announcing())
        settings = Settings(dtype="float64")
        workers = {name: stack.enter_context(Worker(name, settings)) for name in FRAMEWORKS}
        for worker in workers.values():
            worker.ready()
        calls: Mapping[str, Call] = {name: worker.call for name, worker in workers.items()}
        results = []
        for number, result in enumerate(selftest(bugs, calls, shrink=not only_quick), start=1):
            verdict = "caught" if result.caught else "NOT CAUGHT"
            say(f"[{number}/{len(bugs)}] {result.bug.name}: {verdict}")
            results.append(result)
    return show(results, as_json=as_json)


def show(results: Sequence[Caught], *, as_json: bool) -> int:
    """Print the results on stdout; returns the exit code."""
    caught = sum(result.caught for result in results)
    if as_json:
        mutations = [result.to_json() for result in results]
        content = {"caught": caught, "total": len(results), "mutations": mutations}
        print(json.dumps(content, allow_nan=False))
    else:
        Table(_HEADINGS, [_cells(result) for result in results]).print()
        print(f"\n{caught} of {len(results)} caught where they must be")
        for result in results:
            if result.misexplained:
                wrong = ", ".join(result.misexplained)
                print(f"{result.bug.name}: {wrong} is named and does not explain it")
    return 0 if results and caught == len(results) else 1


def _cells(result: Caught) -> tuple[str, ...]:
    bug, first = result.bug, result.divergence
    expected = f"{bug.rung} {bug.blame}"
    size = "" if result.smallest_size is None else f"{result.smallest_size:.0e} {bug.unit}"
    if first is None:
        return bug.name, bug.variant, expected, "nowhere", "", "", size
    caught = "as expected" if result.caught else f"{first.rung} {first.layer}"
    unit = "epoch" if first.rung in (2, 10, 11) else "step"
    step = "" if first.step is None else f"{unit} {first.step}"
    return bug.name, bug.variant, expected, caught, step, ", ".join(first.explained_by), size
