import json
import re
import shutil

import pytest
from readme_copy import ROOT, change_block, copied

from compare.errors import InputError
from compare.readme import page as readme
from compare.readme import screen
from compare.readme import words as readme_words
from compare.study.records import RunFolder


@pytest.fixture
def page(tmp_path):
    return copied(tmp_path)


def study_beside(page):
    return readme.docs_beside(page) / screen.KEPT


def study(page):
    return RunFolder.open(study_beside(page))


def faults(page):
    return readme.faults([screen.section(study(page))], page)


def change_records(page, change):
    file = study_beside(page) / "records.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        change(record)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(screen, "_figures", lambda folder, results: iter(()))


def test_a_number_that_the_records_do_not_have_is_a_fault(page, no_figures):
    (number,) = re.findall(r"reaches 80 % after (\S+)", page.read_text(encoding="utf-8"))
    before, after = (f"reaches 80 % after {told}" for told in (number, "77"))
    change_block(page, screen.NAME, lambda block: block.replace(before, after))
    found = faults(page)
    for sign, shown in (("-", "77"), ("+", number)):
        assert any(line.startswith(sign) and f"80 % after {shown}" in line for line in found)


def test_a_record_that_the_readme_does_not_show_is_a_fault(page, no_figures):
    def change(record):
        if (record["variant"], record["framework"]) == ("cnn", "torch"):
            record["final"]["test_accuracy"] += 0.02

    change_records(page, change)
    changed = [line for line in faults(page) if line.startswith("+|")]
    assert len(changed) == 1
    assert "| different<br>+0.0" in changed[0]


def test_a_figure_of_other_numbers_is_a_fault(page):
    def change(record):
        if (record["variant"], record["framework"]) == ("mlp", "torch"):
            curve = record["history"]["test_accuracy"]
            record["history"]["test_accuracy"] = [value + 0.001 for value in curve]

    change_records(page, change)
    shutil.copyfile(page.parent / "docs/accuracy.png", page.parent / f"docs/{BOUNDARY}")
    found = [line for line in faults(page) if ".png" in line]
    assert [line.partition(": ")[0].rpartition("/")[2] for line in found] == FIGURES
    assert "root mean square" in found[0]
    assert "size" in found[1]


BOUNDARY = f"{readme_words.BOUNDARY}.png"
FIGURES = ["accuracy.png", BOUNDARY]


def test_a_figure_that_is_not_there_is_a_fault(page):
    (page.parent / "docs" / BOUNDARY).unlink()
    assert [line for line in faults(page) if "found none" in line]


def test_what_is_written_is_what_is_checked(page):
    folder = study(page)
    run = page.parent / "run"
    shutil.move(folder.path, run)
    manifest = {**folder.manifest, "command": ["bn-compare", "run", "--out", str(run)]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    change_block(page, screen.NAME, lambda block: "")
    (page.parent / "docs/accuracy.png").unlink()
    readme.write([screen.section(RunFolder.open(run))], page)
    assert page.read_bytes() == (ROOT / "README.md").read_bytes()
    assert not faults(page)
    kept = study_beside(page)
    names = {file.relative_to(kept) for file in kept.rglob("*") if file.is_file()}
    committed = study_beside(ROOT / "README.md")
    assert names == {f.relative_to(committed) for f in committed.rglob("*") if f.is_file()}
    assert str(page.parent) not in (kept / "manifest.json").read_text()


def test_sides_that_disagree_are_both_named(page):
    def change(record):
        if (record["variant"], record["framework"]) == ("mlp", "keras"):
            record["history"]["test_accuracy"] = [0.9] * 100

    change_records(page, change)
    text = screen.section(study(page)).block
    assert re.search(r"takes 1 \(Keras\) and \S+ \(Lightning\) epochs", " ".join(text.split()))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("docs/study/manifest.json", '"epochs": 100', '"epochs": 50', "other epochs"),
        ("docs/study/timings.jsonl", None, "", "0 timed fits"),
        ("docs/study/records.jsonl", None, "", "received 0 runs"),
    ],
)
def test_what_is_no_default_study_is_refused(page, name, old, new, message):
    file = page.parent / name
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new) if old else new, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        screen.section(study(page))
