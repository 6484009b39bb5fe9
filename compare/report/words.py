"""What a report says in words and numbers: the context of both page templates."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compare import wording
from compare.conventions import CONVENTIONS
from compare.report import answers, captions, gains, race_table, table, verdict_table
from compare.report.results import Results
from compare.spec import VARIANTS, Settings
from compare.study.records import Record


def words(results: Results) -> dict[str, Any]:
    """What both templates show, figures left out.

    Args:
        results: What was found.

    Returns:
        Variables of the templates, as strings and containers of strings.
    """
    settings, records = results.settings, results.records
    rows, differences = results.rows, results.differences
    return {
        "summary": _summary(results),
        "warnings": _warnings(settings, records),
        "short_headings": _with_verdict(
            [_stacked(heading) for heading in table.headings(settings.target)],
            ["difference", "verdict"],
        ),
        "headings": _with_verdict(table.headings(settings.target), ["difference", "verdict"]),
        "cells": _cells(results),
        "answers": _answers(results),
        "verdict_headings": verdict_table.HEADINGS,
        "verdicts": verdict_table.lines(results.comparisons),
        "effect_headings": verdict_table.EFFECT_HEADINGS,
        "effects": verdict_table.effect_lines(results.benefits),
        "gains": gains.in_full(results.benefits, results.lags),
        "race_headings": race_table.HEADINGS,
        "races": race_table.lines(results.races),
        "legend": captions.legend(settings, timed=bool(results.timings)),
        "explained": captions.EXPLAINED,
        "tutorial_lines": table.tutorial_lines(rows),
        "tutorial_headings": table.TUTORIAL_HEADINGS,
        "tutorial": table.tutorial_cells(results.tutorial),
        "variants": {
            name: VARIANTS[name].title if name in VARIANTS else "" for name in results.variants
        },
        "gaps": {
            gap.variant: (
                gap.seeds,
                wording.magnitude(gap.probability),
                wording.magnitude(gap.weights),
            )
            for gap in differences
        },
        "conventions": _conventions(settings, results.variants),
        "settings": {name: _text(value) for name, value in settings.to_dict().items()},
        **_environment(results.manifest),
    }


def facts(results: Results) -> dict[str, Any]:
    """What `report.json` says beside its numbers, as JSON types."""
    manifest = results.manifest
    return {
        "summary": _summary(results),
        "warnings": _warnings(results.settings, results.records),
        "answers": _answers(results),
        "effects_in_words": gains.in_full(results.benefits, results.lags),
        "settings": results.settings.to_dict(),
        "data_digest": manifest.get("data_digest"),
        "hardware": manifest.get("hardware") or {},
        "versions": manifest.get("versions") or {},
    }


def _text(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)


def _cells(results: Results) -> list[list[str]]:
    """The table of the terminal, with the difference of the test accuracy and its verdict."""
    found = verdict_table.by_variant(results.comparisons, "test_accuracy")
    return [
        _with_verdict(
            line, [verdict_table.difference(one), one.verdict if one else wording.MISSING]
        )
        for line in table.cells(results.rows, results.differences)
        for one in [found.get(line[0])]
    ]


def _with_verdict(line: Sequence[str], judged: Sequence[str]) -> list[str]:
    """A line of the terminal's table, with what is judged right of both accuracies."""
    return [*line[:3], *judged, *line[3:]]


def _stacked(heading: str) -> str:
    """A heading in lines as short as the cells below it."""
    short = heading.replace("test accuracy", "accuracy").replace("epochs to ", "epochs\nto ")
    for label in (*wording.LABELS.values(), "|Δp|"):
        short = short.replace(f" {label}", f"\n{label}")
    return short


def _answers(results: Results) -> dict[str, str]:
    return {
        answers.SAME: answers.same(results.comparisons),
        gains.HELPS: gains.helps(results.benefits),
    }


def _conventions(settings: Settings, variants: Sequence[str]) -> list[tuple[str, ...]]:
    """What the frameworks do differently in these networks, and what was done about it."""
    return [
        (one.name, one.keras, one.torch, "left out" if one.name in settings.undone else "matched")
        for one in CONVENTIONS.values()
        if set(one.touches) & set(variants)
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _summary(results: Results) -> str:
    settings, records = results.settings, results.records
    sides = [
        label
        for name, label in wording.LABELS.items()
        if any(r["framework"] == name for r in records)
    ]
    where = " and in ".join(sides) if len(sides) > 1 else f"{sides[0]} alone"
    undone = settings.undone
    matched = (
        f"remedies left out: {', '.join(undone)}" if undone else "every known difference matched"
    )
    return (
        f"{_count(len(results.variants), 'variant')} of the batch normalization tutorial's "
        f"networks trained in {where}: {_count(settings.seeds, 'seed')}, "
        f"{_count(settings.epochs, 'epoch')}, {settings.dtype}, "
        f"alignment “{settings.alignment}” ({matched})."
    )


def _warnings(settings: Settings, records: Sequence[Record]) -> list[str]:
    """Runs that are not what the settings promise, by name."""
    found = {(r["variant"], r["framework"], r["seed"]) for r in records}
    planned = (
        (variant, framework, seed)
        for variant in settings.variants
        for framework in settings.frameworks
        for seed in range(settings.seeds)
    )
    missing = [run for run in planned if run not in found]
    diverged = [(r["variant"], r["framework"], r["seed"]) for r in records if r["status"] != "ok"]
    notes = []
    if missing:
        notes.append(f"The study is incomplete. Missing runs: {_names(missing)}.")
    if diverged:
        notes.append(f"Diverged, and left out of means and medians: {_names(diverged)}.")
    return notes


def _names(runs: Iterable[tuple[str, str, int]]) -> str:
    """`mlp Keras (seeds 0, 2), …`: a long list stays readable."""
    seeds: dict[str, list[int]] = {}
    for variant, framework, seed in runs:
        seeds.setdefault(f"{variant} {wording.LABELS[framework]}", []).append(seed)
    return "; ".join(
        f"{side} ({'seed' if len(group) == 1 else 'seeds'} {_ranges(group)})"
        for side, group in seeds.items()
    )


def _ranges(numbers: Sequence[int]) -> str:
    """`0, 2, 5–9`: three or more in a row are shortened."""
    rows: list[list[int]] = []
    for number in sorted(numbers):
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(
        f"{row[0]}–{row[-1]}" if len(row) > 2 else ", ".join(map(str, row)) for row in rows
    )


def _environment(manifest: Mapping[str, Any]) -> dict[str, Any]:
    hardware, versions = manifest.get("hardware") or {}, manifest.get("versions") or {}
    installed = {name: version for name, version in versions.items() if version}
    memory, cores = hardware.get("memory_bytes"), hardware.get("cores")
    parts = [
        hardware.get("cpu"),
        _count(cores, "core") if cores else None,
        f"{memory / 2**30:.0f} GiB of memory" if memory else None,
        " and ".join(sorted(set((hardware.get("accelerator") or {}).values()))),
        " ".join(filter(None, (hardware.get("system"), hardware.get("machine")))),
        f"Python {hardware['python']}" if hardware.get("python") else None,
    ]
    facts = {
        "started": manifest.get("created_at"),
        "command": shlex.join(manifest.get("command") or []),
        "git commit": manifest.get("git_commit"),
        "Keras backend": manifest.get("keras_backend"),
        "data digest": manifest.get("data_digest"),
        **installed,
    }
    return {
        "hardware": ", ".join(str(part) for part in parts if part),
        "versions": ", ".join(f"{name} {version}" for name, version in installed.items()),
        "environment": {name: value for name, value in facts.items() if value},
    }
