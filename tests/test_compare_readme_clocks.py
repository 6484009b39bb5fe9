import json
import re
import shutil
from dataclasses import asdict

import pytest
from readme_copy import ROOT, change_block, change_json, copied

from compare.errors import InputError
from compare.readme import clocks
from compare.readme import page as readme
from compare.readme.conditions import machine
from compare.readme.section import no_figures
from compare.readme.words import at
from compare.study.records import RunFolder
from compare.timing.records import FILE, TimingRecords
from compare.timing.summary import figures

STUDY = RunFolder.open(ROOT / "docs" / "study")
ABOVE = at(STUDY.manifest, STUDY.settings)


@pytest.fixture
def page(tmp_path):
    return copied(tmp_path)


@pytest.fixture
def unseen(monkeypatch):
    monkeypatch.setattr(clocks, "_figures", lambda measurements: no_figures())


def kept(page):
    return readme.docs_beside(page) / clocks.KEPT


def section(page, above=ABOVE):
    return clocks.section(TimingRecords.open(kept(page)), above)


def faults(page):
    return readme.faults([section(page)], page)


def fits(content, **wanted):
    return [s for s in content["raw"]["samples"] if all(s[k] == v for k, v in wanted.items())]


def slower(content, factor, **wanted):
    for sample in fits(content, **wanted):
        sample["epoch_ends"] = [factor * end for end in sample["epoch_ends"]]


def test_a_number_that_the_records_do_not_have_is_a_fault(page, unseen):
    assert faults(page) == []
    change_block(
        page, clocks.NAME, lambda block: re.sub(r"\| \d+\.\d+", "| 0.7654", block, count=1)
    )
    found = [line for line in faults(page) if line.startswith(("-|", "+|"))]
    assert len(found) == 2
    assert "| 0.7654" in found[0]


def test_a_record_that_the_readme_does_not_show_is_a_fault(page, unseen):
    wanted = {"variant": "cnn-bn", "framework": "torch", "kind": "idiomatic"}
    change_json(kept(page), lambda content: slower(content, 2.0, **wanted))
    (changed,) = [line for line in faults(page) if line.startswith("+|")]
    assert changed.startswith("+| `cnn-bn`")


def test_a_figure_of_other_numbers_is_a_fault(page):
    assert faults(page) == []

    def change(content):
        for point in content["raw"]["points"]:
            if (point["framework"], point["kind"]) == ("keras", "floor"):
                point["step_seconds"] *= 1.02

    change_json(kept(page), change)
    (fault,) = faults(page)
    assert f"{clocks.FIGURE}.png: not the figure of these records: root mean square" in fault
    (page.parent / "docs" / f"{clocks.FIGURE}.png").unlink()
    (fault,) = faults(page)
    assert fault.endswith("expected a figure, found none")


def test_what_is_written_is_what_is_checked(page):
    folder = page.parent / "time"
    folder.mkdir()
    shutil.move(kept(page), folder / FILE)
    command = {"command": ["bn-compare", "time", "--out", str(folder)]}
    change_json(folder / FILE, lambda content: content.update(command))
    change_block(page, clocks.NAME, lambda block: "")
    (page.parent / "docs" / f"{clocks.FIGURE}.png").unlink()
    readme.write([clocks.section(TimingRecords.open(folder / FILE), ABOVE)], page)
    for name in ("README.md", f"docs/{clocks.KEPT}", f"docs/{clocks.FIGURE}.png"):
        assert (page.parent / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_busy_machine_marks_its_ratio(page):
    def change(content):
        for sample in content["raw"]["samples"]:
            sample["other_cores"] = 0.4 if sample["variant"] == "mlp-bn-after" else 0.0

    change_json(kept(page), change)
    (marked,) = (line for line in section(page).block.splitlines() if "busy" in line)
    assert re.match(r"\| `mlp-bn-after` .*\], while others kept 0\.4 cores busy \|", marked)


def test_another_machine_is_told(page):
    change_json(kept(page), lambda content: content["hardware"].update(cores=64, memory_bytes=None))
    text = " ".join(section(page).block.split())
    assert re.search(r"Measured on .*, 64 cores, no GPU, 1 thread per framework; Python", text)
    here = machine(TimingRecords.open(kept(page)).content, devices=["cpu"], threads=1)
    assert "Measured on" not in section(page, here).block


def test_a_floor_is_the_faster_one(page):
    def shown():
        (row,) = (x for x in section(page).block.splitlines() if x.startswith("| `mlp` |"))
        return float(row.split(" | ")[4])

    both, floors = shown(), set()
    for slow in ("floor (graph)", "floor (XLA)"):
        shutil.copyfile(ROOT / "docs" / clocks.KEPT, kept(page))
        wanted = {"variant": "mlp", "framework": "keras", "configuration": slow}
        change_json(kept(page), lambda content, wanted=wanted: slower(content, 1e6, **wanted))
        floors.add(shown())
    assert len(floors) == 2
    assert both == min(floors)


def drop_fits(**wanted):
    def change(content):
        gone = fits(content, **wanted)
        content["raw"]["samples"] = [s for s in content["raw"]["samples"] if s not in gone]

    return change


def drop_points(content):
    content["raw"]["points"] = [p for p in content["raw"]["points"] if p["axis"] != "units"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["settings"].update(epochs=10), "at the defaults, received other epochs"),
        (lambda c: c["settings"].update(tuned=True, threads=2), "other threads, tuned"),
        (lambda c: c.update(complete=False), "received one that was interrupted"),
        (lambda c: c["left_out"].append("scaling: units 5000"), "without scaling: units 5000"),
        (drop_points, "without scaling over units, keras, idiomatic"),
        (
            drop_fits(variant="mlp", framework="torch", kind="floor", repetition=2),
            "without mlp, torch, floor, repetition 2",
        ),
        (drop_fits(variant="lstm-bn"), "without lstm-bn, keras, idiomatic, repetition 0"),
    ],
)
def test_what_is_no_whole_default_timing_is_refused(page, change, message):
    change_json(kept(page), change)
    with pytest.raises(InputError, match=message) as found:
        section(page)
    assert str(found.value).startswith(f"{kept(page)}: expected a timing")


def test_what_follows_from_the_kept_fits_is_what_was_kept():
    records = TimingRecords.open(ROOT / "docs" / clocks.KEPT)
    found = figures(records.plan, records.measurements)
    assert json.loads(json.dumps([asdict(f) for f in found])) == records.content["figures"]
