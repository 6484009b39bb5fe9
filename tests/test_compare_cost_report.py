import json

import pytest
from made_up_costs import ROWS, TINY, made_up
from test_compare_cost_records import saved
from test_compare_timing_measure import Process

from compare.cli import app
from compare.cost import bare as cost_bare
from compare.cost import jobs as cost_jobs
from compare.cost import parity as cost_parity
from compare.cost import report as cost_report
from compare.cost import scaling as cost_scaling
from compare.cost import study as cost_study
from compare.cost import table as cost_table
from compare.cost import variants as cost_variants
from compare.cost.plan import PARTS, CostPlan, Part
from compare.cost.records import CostRecords
from compare.errors import InputError, RunFolderError
from compare.spec import FRAMEWORKS
from compare.study.runs import Run


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("overhead", ["mlp", "Lightning", "0.04", "0.0002", "0.50 %", "1.200 [1.100, 1.300]"]),
        (
            "study",
            [
                "2 variants, 10 seeds, 100 epochs",
                "50.0",
                "~500",
                "10.0",
                "5.0",
                "256",
                "1,024",
                "–",
            ],
        ),
        ("scaling", ["mlp", "1,000", "100", "60", "40", "60", "65", "1,024", "–"]),
        ("bare", ["mlp-bn-after", "Keras", "100", "0.06", "0.05", "1.200 [1.100, 1.300]"]),
        ("variants", ["mlp", "100", "100", "10", "~400", "40.0"]),
        (
            "parity",
            [
                "50 layers, 25.6 M parameters",
                "4 × 224 × 224 × 3",
                *("8.0", "2.0", "10.0", "35.0", "55.0", "3,072", "passed"),
            ],
        ),
    ],
)
def test_a_row_says_what_was_measured(name, expected):
    head, line = cost_table.table(made_up(name))
    assert line == expected
    assert len(head) == len(line)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("overhead", "≤ 2 %"),
        ("study", "extrapolated from one seed of every variant and 20 of 100 epochs"),
        ("scaling", "with imports"),
        ("bare", "target ≤ 1.3"),
        ("variants", "extrapolated from 2 seeds and 20 of 100 epochs (mlp)"),
        ("parity", "may do that is: forward, training 7.2e-06 (39%), loss – (–)."),
    ],
)
def test_what_is_extrapolated_is_said(name, expected):
    rows = {**ROWS, "variants": {**ROWS["variants"], "few_seeds": 2}}
    page = cost_table.markdown([Part(name, [rows[name]], 12.0, 0.0)])
    assert expected in " ".join(page.split())
    assert f"## {PARTS[name][1:]}"[3:] in page


def test_a_busy_machine_is_told():
    assert "less than 0.1 cores" in cost_table.load(made_up("bare"))
    assert "kept 0.7 cores busy" in cost_table.load(made_up("bare", other_cores=0.7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ("studie",)}, "Did you mean 'study'"),
        ({"parts": ()}, "no part named"),
        ({"parts": ("bare", "bare")}, "--parts names one twice"),
        ({"variants": ("mpl",)}, "Did you mean 'mlp'"),
        ({"repetitions": 1}, "--repetitions: expected"),
        ({"repetitions": "many"}, "'many'"),
        ({"seeds": 0}, "--seeds: expected"),
        ({"parts": ("bare",), "variants": ("mlp",)}, "a bare loop is written"),
        ({"parts": ("parity",), "variants": ("mlp",)}, "a network of its own"),
        ({"parts": ("overhead",), "seeds": 5}, "--seeds: expected for the part variants alone"),
    ],
)
def test_a_plan_refuses_what_cannot_be_measured(options, message):
    with pytest.raises(InputError, match=message):
        CostPlan(**options)


def test_each_part_has_its_variants():
    assert CostPlan().of("overhead") == ("mlp-bn-after",)
    assert len(CostPlan().of("study")) == 10
    chosen = CostPlan(variants=("mlp", "cnn-bn"), seeds=7)
    assert chosen.of("study") == ("mlp", "cnn-bn")
    assert chosen.of("bare") == ("cnn-bn",)
    assert (chosen.many("mlp"), CostPlan().many("cnn")) == (7, 10)


def in_turn(queues, told):
    """Stands in for `engine.side_by_side`: the same jobs, one after the other, in this process."""
    for worker, jobs in queues.items():
        for job in jobs:
            worker.call(job, told)


class InFloat32(Process):
    """A worker in this process, in the dtype in which costs are measured."""

    def __init__(self, name, settings):
        super().__init__(name, settings)
        self.dtype = settings.dtype


@pytest.fixture
def here(monkeypatch):
    """No other process is started, and the study is left out."""

    def started(settings, stack):
        return {name: InFloat32(name, settings) for name in FRAMEWORKS}, 0.5

    def run_study(settings, path, *, progress):
        for name in FRAMEWORKS:
            progress(Run("mlp", name, settings.seeds - 1), settings.epochs)

    monkeypatch.setattr(cost_parity, "cores", lambda: 1)
    for module in (cost_bare, cost_parity):
        monkeypatch.setattr(module, "Worker", InFloat32)
    for module in (cost_study, cost_scaling, cost_variants):
        monkeypatch.setattr(module, "started", started)
    monkeypatch.setattr(cost_jobs, "side_by_side", in_turn)
    monkeypatch.setattr(cost_scaling, "side_by_side", in_turn)
    monkeypatch.setattr(cost_variants, "work_side_by_side", in_turn)
    monkeypatch.setattr(cost_study, "run_study", run_study)


def test_every_part_is_saved_and_shown(here, tmp_path, capsys):
    out, said = tmp_path / "out", []
    chosen = tuple(part for part in PARTS if part != "overhead")  # below, in its own processes
    plan = CostPlan(parts=chosen, variants=("mlp-bn-after",), repetitions=2, sizes=TINY)
    parts = cost_report.run(plan, out, say=said.append)
    content = json.loads((out / "self.json").read_text())
    assert tuple(content["parts"]) == chosen
    again = CostRecords.open(out / "self.json")
    assert (again.plan, again.parts, again.complete) == (plan, tuple(parts), True)
    rows = {name: part["rows"] for name, part in content["parts"].items()}
    for row in rows["bare"]:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert len(row["pairs"]) == 2
    assert [(row["seeds"], row["epochs"]) for row in rows["scaling"]] == [(2, 4), (2, 3)]
    for row in rows["scaling"]:
        assert 0 < max(row["by_framework"].values()) <= row["seconds"]
        assert min(row["peak_bytes"].values()) > 2**26
    (study,), (variant,), (deep,) = rows["study"], rows["variants"], rows["parity"]
    assert deep["passed"], deep["verdict"]
    assert 0 < max(deep["of_tolerance"].values()) <= 1
    assert (deep["layers"], deep["threads"]) == (8, 1)
    assert deep["seconds"].keys() == {"import", "build", "port", "check"}
    assert min(deep["peak_bytes"].values()) > 2**26
    assert study["idiomatic_seconds"] > study["start_seconds"] == 0.5
    assert study["peak_bytes"]["parent"] > 2**26
    assert (variant["seeds"], variant["few_seeds"], variant["few_epochs"]) == (3, 2, 3)
    assert "bare: mlp-bn-after, torch: repetition 2" in said
    assert (out / "self.md").read_text().count("## ") == 5
    cost_report.show(plan, parts, out, as_json=True)
    assert json.loads(capsys.readouterr().out)["parts"] == content["parts"]
    cost_report.show(plan, parts, out, as_json=False)
    assert capsys.readouterr().out.count("Took ") == 5


def test_the_overhead_in_processes_of_its_own(tmp_path):
    plan, said = CostPlan(parts=("overhead",), repetitions=2, sizes=TINY), []
    (part,) = cost_report.run(plan, tmp_path / "out", say=said.append)
    assert [(row["variant"], row["framework"]) for row in part.rows] == [
        ("mlp-bn-after", "keras"),
        ("mlp-bn-after", "torch"),
    ]
    turns = ("warming up", "repetition 1", "repetition 2")
    expected = [f"overhead: mlp-bn-after, {name}: {turn}" for name in FRAMEWORKS for turn in turns]
    assert [text for text in said if text in expected] == expected
    assert all(row["bare_seconds"] > 0 for row in part.rows)
    for row in part.rows:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert len(row["rounds"]) == 2
        for found in row["rounds"]:
            assert found["judged"] > 0
            assert 0 < found["nothing"] < found["bare"]
            assert found["around"] < found["bare"]


def command(*arguments):
    return app(["time", "--self", *map(str, arguments)], standalone_mode=False)


def test_ctrl_c_keeps_finished_parts(tmp_path, monkeypatch, capsys):
    def interrupted(plan, say):
        yield {"seeds": 1}
        raise KeyboardInterrupt

    measures = {"overhead": lambda plan, say: [ROWS["overhead"]], "scaling": interrupted}
    monkeypatch.setattr(cost_report, "_MEASURES", measures)
    assert command("--out", tmp_path / "out", "--parts", "overhead,scaling") == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    last = printed.err.splitlines()[-1]
    assert last.startswith("bn-compare: interrupted: overhead, scaling saved in")
    content = json.loads((tmp_path / "out" / "self.json").read_text())
    assert not content["complete"]
    assert content["parts"]["overhead"]["rows"] == [ROWS["overhead"]]
    assert content["parts"]["scaling"]["rows"] == [{"seeds": 1}], "a row is saved at once"
    assert content["parts"]["scaling"]["other_cores"] is None
    assert "0.50 %" in (tmp_path / "out" / "self.md").read_text()


@pytest.mark.parametrize("chosen", [(), ("--parts", "all")])
def test_all_parts_are_the_default(tmp_path, monkeypatch, chosen):
    plans = []
    monkeypatch.setattr(cost_report, "run", lambda plan, path, *, say: plans.append(plan) or [])
    monkeypatch.setattr(cost_report, "show", lambda *_, **__: None)
    command("--out", tmp_path / "out", *chosen)
    assert [plan.parts for plan in plans] == [tuple(PARTS)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--epochs", "3"), "--epochs: expected without --self"),
        (("--tuned", "--no-scaling"), "--no-scaling, --tuned"),
        (("--seeds", "few"), "'few'"),
        (("--parts", ""), "no part named"),
    ],
)
def test_options_that_would_do_nothing_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        command(*arguments)


def test_parts_are_refused_without_self():
    with pytest.raises(InputError, match="--parts: expected beside --self"):
        app(["time", "--parts", "study"], standalone_mode=False)


def test_the_page_is_redone_from_the_records_alone(tmp_path, capsys):
    parts = [made_up("overhead"), made_up("study", None)]
    content = saved(CostPlan(), parts)
    (tmp_path / "self.json").write_text(json.dumps(content))
    app(["report", str(tmp_path)], standalone_mode=False)
    assert "Interrupted after 12 s." in capsys.readouterr().out
    assert (tmp_path / "self.md").read_text() == cost_table.markdown(parts)
    app(["report", str(tmp_path), "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["parts"] == content["parts"]
    (tmp_path / "self.md").unlink()
    (tmp_path / "self.md").mkdir()
    with pytest.raises(RunFolderError, match="cannot write the page"):
        app(["report", str(tmp_path)], standalone_mode=False)
