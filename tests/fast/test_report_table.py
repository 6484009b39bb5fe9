from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

from compare.analysis.frames import Difference
from compare.analysis.summary import Row
from compare.report.tables import cells, headings, judged, tutorial_lines


def row(variant: str = "mlp", framework: str = "keras", **changes: Any) -> Row:
    values: dict[str, Any] = {
        "alignment": "exact",
        "seeds": 1,
        "diverged": 0,
        "train_accuracy_mean": 0.8464,
        "test_accuracy_mean": 0.848,
        "test_accuracy_std": None,
        "test_accuracies": (0.848,),
        "epochs_to_target_median": 16,
        "reached_target": 1,
        "epoch_seconds_median": 0.15234,
    }
    return Row(variant, framework, **{**values, **changes})


def test_headings_name_the_target_and_fit_the_cells() -> None:
    names = headings(0.805)
    assert names[0] == "variant"
    assert names[3:5] == ["epochs to 80.5 % Keras", "epochs to 80.5 % Lightning"]
    assert names[-1] == "max |Δp|"
    assert len(names) == len(cells([row()], [])[0])


def test_one_line_per_variant_in_order_of_appearance() -> None:
    rows = [row("cnn"), row("cnn", "torch", test_accuracy_mean=0.5), row("mlp", "torch")]
    lines = cells(rows, [Difference("cnn", 1, 3.14e-7, 0.0)])
    assert lines == [
        ["cnn", "0.848", "0.500", "16", "16", "0.152", "0.152", "3.1e-07"],
        ["mlp", "–", "0.848", "–", "16", "–", "0.152", "–"],
    ]


def test_a_verdict_stands_right_of_both_accuracies() -> None:
    names = judged(headings(0.8), "verdict")
    line = judged(cells([row()], [])[0], "inconclusive")
    assert names[2:5] == ["test accuracy Lightning", "verdict", "epochs to 80 % Keras"]
    assert line[2:5] == ["–", "inconclusive", "16"]


def test_several_seeds_show_their_spread() -> None:
    line = cells([row(seeds=5, test_accuracy_std=0.0123, reached_target=5)], [])[0]
    assert line[1] == "0.848 ± 0.012"


def test_a_run_that_diverged_is_counted_beside_the_others() -> None:
    line = cells([row(seeds=5, diverged=2, test_accuracy_std=0.01, reached_target=3)], [])[0]
    assert line[1] == "0.848 ± 0.010 (2 of 5 diverged)"
    assert line[3] == "16"


def test_nothing_but_diverged_runs_has_no_accuracy_and_no_epochs() -> None:
    gone = row(
        seeds=2,
        diverged=2,
        train_accuracy_mean=None,
        test_accuracy_mean=None,
        test_accuracies=(),
        epochs_to_target_median=None,
        reached_target=0,
    )
    assert cells([gone], [])[0][1] == "2 of 2 diverged"
    assert cells([gone], [])[0][3] == "–"
    assert tutorial_lines([gone]) == ["mlp  Keras      2 of 2 diverged"]


def test_a_target_out_of_reach_is_never_and_says_how_many_arrived() -> None:
    never = {"epochs_to_target_median": None, "seeds": 5}
    assert cells([row(**never, reached_target=0)], [])[0][3] == "never"
    assert cells([row(**never, reached_target=2)], [])[0][3] == "never (2 of 5)"
    most = row(seeds=5, reached_target=4, epochs_to_target_median=24.5)
    assert cells([most], [])[0][3] == "24.5 (4 of 5)"


def test_differences_that_are_zero_or_not_a_number_say_so() -> None:
    assert cells([row()], [Difference("mlp", 1, 0.0, 0.0)])[0][-1] == "0"
    assert cells([row()], [Difference("mlp", 1, math.nan, 0.0)])[0][-1] == "NaN"


def test_no_clock_leaves_a_dash() -> None:
    assert cells([row(epoch_seconds_median=None)], [])[0][5] == "–"


def test_tutorial_lines_are_aligned() -> None:
    assert tutorial_lines([row("mlp-bn-after"), row("mlp", "torch", seeds=3, diverged=1)]) == [
        "mlp-bn-after  Keras      Train: 0.846, Test: 0.848",
        "mlp           Lightning  Train: 0.846, Test: 0.848 (1 of 3 diverged)",
    ]
    assert tutorial_lines([]) == []


def test_needs_no_drawing_and_no_page_library() -> None:
    code = (
        "import sys, compare.report.tables, compare.report.pages\n"
        "found = {'matplotlib', 'jinja2', 'torch', 'keras'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(found)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
