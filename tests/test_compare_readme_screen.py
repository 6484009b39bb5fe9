import json
import re
import shutil
from pathlib import Path

import pytest

from compare.commands import readme as cli_readme
from compare.errors import InputError
from compare.readme import screen as readme
from compare.readme import words as readme_words
from compare.study.records import RunFolder

ROOT = Path(__file__).parent.parent


@pytest.fixture
def page(tmp_path):
    """A copy of the README, with its figures and records."""
    shutil.copyfile(ROOT / "README.md", tmp_path / "README.md")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path / "README.md"


def study(page):
    return RunFolder.open(readme.study_beside(page))


def change_records(page, change):
    file = readme.study_beside(page) / "records.jsonl"
    records = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        change(record)
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(readme, "_figures", lambda folder, results: iter(()))


def test_a_number_that_the_records_do_not_have_is_a_fault(page, no_figures):
    text = page.read_text(encoding="utf-8")
    (number,) = re.findall(r"reaches 80 % after (\S+)", text)
    wrong = text.replace(f"reaches 80 % after {number}", "reaches 80 % after 77")
    page.write_text(wrong, encoding="utf-8")
    found = readme.faults(study(page), page)
    for sign, shown in (("-", "77"), ("+", number)):
        assert any(line.startswith(sign) and f"80 % after {shown}" in line for line in found)


def test_a_record_that_the_readme_does_not_show_is_a_fault(page, no_figures):
    def change(record):
        if (record["variant"], record["framework"]) == ("cnn", "torch"):
            record["final"]["test_accuracy"] += 0.02

    change_records(page, change)
    changed = [line for line in readme.faults(study(page), page) if line.startswith("+|")]
    assert len(changed) == 1
    assert "| different<br>+0.0" in changed[0]


def test_a_figure_of_other_numbers_is_a_fault(page):
    def change(record):
        if (record["variant"], record["framework"]) == ("mlp", "torch"):
            curve = record["history"]["test_accuracy"]
            record["history"]["test_accuracy"] = [value + 0.001 for value in curve]

    change_records(page, change)
    shutil.copyfile(page.parent / "docs/accuracy.png", page.parent / f"docs/{BOUNDARY}")
    found = [line for line in readme.faults(study(page), page) if ".png" in line]
    assert [line.partition(": ")[0].rpartition("/")[2] for line in found] == FIGURES
    assert "root mean square" in found[0]
    assert "size" in found[1]


BOUNDARY = f"{readme_words.BOUNDARY}.png"
FIGURES = ["accuracy.png", BOUNDARY]


def test_a_figure_that_is_not_there_is_a_fault(page):
    (page.parent / "docs" / BOUNDARY).unlink()
    assert [line for line in readme.faults(study(page), page) if "found none" in line]


def test_what_is_written_is_what_is_checked(page):
    folder = study(page)
    run = page.parent / "run"
    shutil.move(folder.path, run)
    manifest = {**folder.manifest, "command": ["bn-compare", "run", "--out", str(run)]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    start, end = (re.escape(mark) for mark in (readme.START, readme.END))
    text, n = re.subn(f"({start}).*({end})", r"\1\2", page.read_text("utf-8"), flags=re.DOTALL)
    assert n == 1
    page.write_text(text, encoding="utf-8")
    (page.parent / "docs/accuracy.png").unlink()
    readme.write(RunFolder.open(run), page)
    assert page.read_bytes() == (ROOT / "README.md").read_bytes()
    assert not readme.faults(study(page), page)
    kept = readme.study_beside(page)
    names = {file.relative_to(kept) for file in kept.rglob("*") if file.is_file()}
    committed = readme.study_beside(ROOT / "README.md")
    assert names == {f.relative_to(committed) for f in committed.rglob("*") if f.is_file()}
    assert str(page.parent) not in (kept / "manifest.json").read_text()


def test_sides_that_disagree_are_both_named(page):
    def change(record):
        if (record["variant"], record["framework"]) == ("mlp", "keras"):
            record["history"]["test_accuracy"] = [0.9] * 100

    change_records(page, change)
    text = readme_words.block(readme._results(study(page)))
    assert re.search(r"takes 1 \(Keras\) and \S+ \(Lightning\) epochs", " ".join(text.split()))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("docs/study/manifest.json", '"epochs": 100', '"epochs": 50', "other epochs"),
        ("docs/study/timings.jsonl", None, "", "0 timed fits"),
        ("docs/study/records.jsonl", None, "", "received 0 runs"),
        ("README.md", readme.END, "", "expected the lines"),
    ],
)
def test_what_is_no_default_study_is_refused(page, name, old, new, message):
    file = page.parent / name
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(old, new) if old else new, encoding="utf-8")
    before = page.read_bytes()
    for use in (readme.faults, readme.write):
        with pytest.raises(InputError, match=message):
            use(study(page), page)
    assert page.read_bytes() == before


def test_the_command_exits_1_with_what_differs(page, no_figures, capsys):
    from typer import Exit

    for text, code in ((None, 0), ("0.123", 1)):
        if text:
            page.write_text(
                re.sub(r"0\.\d+\s?(?=\[)", text, page.read_text("utf-8")), encoding="utf-8"
            )
        with pytest.raises(Exit) as ended:
            cli_readme.readme(path=page, check=True)
        assert ended.value.exit_code == code
        assert ("0.123" in capsys.readouterr().out) is bool(text)
    cli_readme.readme(path=page)
    assert page.read_bytes() == (ROOT / "README.md").read_bytes()
