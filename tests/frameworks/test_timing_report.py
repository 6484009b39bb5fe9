import json
from dataclasses import asdict

import pytest
from interrupted import interrupted
from test_cli import bn_compare
from timed_samples import PLAN, measurements, sample, saved, write

from compare.cli import app
from compare.errors import RunFolderError
from compare.report.figures import save
from compare.timing import report
from compare.timing.records import Measurements, TimingRecords
from compare.timing.summary import figures, ratios

SMALL = ("time", "--variants", "mlp", "--epochs", "2", "--no-scaling", "--patience", "0")


@pytest.fixture(scope="module")
def found():
    found = measurements()
    error = "InductorError: no compiler found"
    found.samples.append(sample("torch", "torch.compile", "tuned", 0, 1.0, error=error))
    return found


def test_a_row_that_cannot_run_says_why_everywhere(found, capsys):
    assert report.table(PLAN, figures(PLAN, found)).rows[-1][2:4] == ["torch.compile", "cannot run"]
    assert report.notes(figures(PLAN, found)) == [
        "Keras, idiomatic: a=b",
        "Lightning, idiomatic: a=b",
    ]
    why = "mlp, Lightning, torch.compile cannot run: InductorError: no compiler found"
    assert why in report.markdown(PLAN, found, figures(PLAN, found), ratios(found))
    report.show(PLAN, found, "somewhere", as_json=False)
    assert why in capsys.readouterr().out
    report.show(PLAN, found, "somewhere", as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["figures"][-1]["error"].startswith("InductorError")


def test_every_line_has_a_cell_per_heading(found):
    table = report.table(PLAN, figures(PLAN, found))
    lines = table.rows
    assert {len(line) for line in lines} == {len(table.headings)}
    assert lines[0][3:8] == ["0.5", "32", "0.5", "0.5", "90%"]
    assert [line[10] for line in lines if line[2] == "idiomatic"] == ["30", "never"]


def test_the_csv_has_a_row_per_figure(found):
    rows = report.csv_text(figures(PLAN, found)).splitlines()
    assert rows[0].startswith("variant,framework,configuration,kind,repetitions,epoch_seconds")
    assert len(rows) == 1 + len(figures(PLAN, found))


def test_a_busy_machine_is_told():
    quiet, busy = measurements(), Measurements()
    busy.samples = [sample("keras", "idiomatic", "idiomatic", 1, 1.0, other_cores=0.7)]
    assert "less than 0.1" in report.load_line(quiet)
    assert "0.7 cores busy" in report.load_line(busy)


def test_the_figures_are_drawn(found, tmp_path):
    save(report.epoch_seconds(figures(PLAN, found), found.samples), tmp_path, "epochs")
    drawing = report.scaling(found)
    save(drawing, tmp_path, "scaling")
    for name in ("epochs", "scaling"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    # Two curves in each panel, and where each takes twice the least.
    assert [len(axes.lines) for axes in drawing.axes] == [4, 4]


@pytest.mark.slow
def test_the_command_end_to_end(tmp_path):
    out = tmp_path / "out"
    done = bn_compare(*SMALL, "--repetitions", 2, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    content = json.loads((out / "timing.json").read_text())
    assert printed["run_dir"] == str(out)
    assert printed["figures"] == content["figures"]
    assert content["complete"]
    again = TimingRecords.open(out / "timing.json")
    assert json.loads(json.dumps(again.measurements.raw())) == content["raw"]
    assert [asdict(f) for f in figures(again.plan, again.measurements)] == content["figures"]
    assert content["versions"]["lightning"]
    assert content["accelerator"] == {"keras": "cpu", "torch": "cpu"}
    assert content["threads"] == 1
    names = [(f["framework"], f["configuration"]) for f in content["figures"]]
    expected = {
        "keras": ("idiomatic", "floor (XLA)", "floor (graph)"),
        "torch": ("idiomatic", "floor"),
    }
    assert names == [(framework, c) for framework, all_ in expected.items() for c in all_]
    for figure in content["figures"]:
        assert figure["epoch_seconds"] > 0
        if figure["kind"] == "idiomatic":
            assert figure["import_seconds"] > 0
            assert figure["peak_rss_bytes"] > 2**26
            assert figure["epochs_to_target"] == 25.5
    assert [s["repetition"] for s in content["raw"]["samples"]] == [0] * 5 + [1] * 5 + [2] * 5
    first = content["ratios"][0]
    assert first["low"] <= first["estimate"] <= first["high"]
    names = {str(p.relative_to(out)) for p in out.rglob("*.*")}
    assert {"timing.csv", "timing.md", "figures/epoch-seconds.png"} <= names
    assert "figures/scaling.png" not in names
    assert "repetition 2" in done.stderr


@pytest.mark.slow
def test_no_gpu_is_one_line_and_exit_2(tmp_path):
    done = bn_compare(*SMALL, "--accelerator", "gpu", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("bn-compare: error: --accelerator gpu: expected")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_timed(tmp_path):
    out = ("--out", tmp_path / "out")
    left = interrupted(*SMALL, "--repetitions", "500", *out, until="repetition 3")
    assert (left.returncode, left.stdout, left.running) == (130, "", [])
    assert "fits are saved in" in left.stderr
    assert f"bn-compare report {tmp_path / 'out'}" in left.stderr
    assert "Traceback" not in left.stderr
    content = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert not content["complete"]
    assert {s["repetition"] for s in content["raw"]["samples"]} == {0, 1, 2}
    assert content["ratios"][0]["repetitions"] == 2


@pytest.mark.parametrize("repetitions", [4, 1])
def test_pages_are_redone_from_the_records_alone(tmp_path, capsys, repetitions):
    """Also those of a timing that was interrupted, be it after the fits that warm up."""
    found = measurements()
    found.samples = [s for s in found.samples if s.repetition < repetitions]
    found.complete = repetitions == 4
    content = saved(found)
    write(tmp_path, content)
    for _ in range(2):
        assert app(["report", str(tmp_path)], standalone_mode=False) is None
        expected = report.markdown(PLAN, found, figures(PLAN, found), ratios(found))
        assert (tmp_path / "timing.md").read_text() == expected
        assert "mlp" in capsys.readouterr().out
    drawn = {path.name for path in (tmp_path / "figures").glob("*.png")}
    assert drawn == ({"epoch-seconds.png"} if found.complete else set()) | {"scaling.png"}
    assert all(f"figures/{name}" in expected for name in drawn)
    assert expected.count("](figures/") == len(drawn)
    app(["report", str(tmp_path), "--json"], standalone_mode=False)
    printed = json.loads(capsys.readouterr().out)
    assert printed["versions"] == content["versions"]
    assert printed["figures"] == json.loads(json.dumps(content))["figures"]


@pytest.mark.parametrize("arguments", [("time", "--variants", "mlp", "--out"), ("report",)])
def test_without_matplotlib_it_is_one_line_and_exit_2(tmp_path, arguments):
    write(tmp_path, saved(measurements()))
    done = bn_compare(*arguments, tmp_path, blocked=("matplotlib",), tmp_path=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'bn-compare[report]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    write(tmp_path, saved(measurements()))
    (tmp_path / "timing.md").mkdir()
    with pytest.raises(RunFolderError, match="cannot write the pages"):
        app(["report", str(tmp_path)], standalone_mode=False)
