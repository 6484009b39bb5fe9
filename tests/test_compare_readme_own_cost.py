import re
import shutil

import pytest
from readme_copy import ROOT, change_block, change_json, copied
from test_compare_readme_clocks import ABOVE

from compare.cost.records import FILE, CostRecords
from compare.errors import InputError, RunFolderError
from compare.readme import own_cost
from compare.readme import page as readme
from compare.readme.conditions import machine


@pytest.fixture
def page(tmp_path):
    return copied(tmp_path)


def kept(page):
    return readme.docs_beside(page) / own_cost.KEPT


def section(page):
    return own_cost.section(CostRecords.open(kept(page)), ABOVE)


def faults(page):
    return readme.faults([section(page)], page)


def text(page):
    return " ".join(section(page).block.split())


def change_row(page, part, values, **wanted):
    """Change the rows of a part that have these values."""

    def change(content):
        rows = content["parts"][part]["rows"]
        found = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
        assert found
        for row in found:
            row.update(values)

    change_json(kept(page), change)


def test_a_number_that_the_records_do_not_have_is_a_fault(page):
    assert faults(page) == []
    change_block(page, own_cost.NAME, lambda block: re.sub(r"~[\d,]+", "~77", block, count=1))
    found = [line for line in faults(page) if line.startswith(("-|", "+|"))]
    assert len(found) == 2
    assert "| ~77 s" in found[0]


BOTH = {"variant": "mlp-bn-after", "framework": "torch"}
SHOWN = [
    ("study", {"fast_seconds": 4321.0}, {}, "seeds | 4,321 s |"),
    ("study", {"idiomatic_seconds": 54321.0}, {}, "~54,321 s | 1 seed, 20 epochs |"),
    ("study", {"peak_bytes": {"keras": 2**30}}, {}, "1,024 MiB (Keras), – (Lightning)"),
    ("overhead", {"own_share": 0.1234}, BOTH, "and 12.34 % (Lightning) of an epoch"),
    ("bare", {"ratio": 7.777}, BOTH, "(Keras), 7.78, "),
    ("bare", {"seeds": 77}, {"variant": "cnn-bn"}, "`cnn-bn` (77 seeds)"),
    ("variants", {"ratio": 0.123}, {"variant": "mlp"}, "100 epochs | 0.12 to "),
    ("variants", {"ratio": 7654.0}, {"seeds": 10}, "20 epochs | 7,654 |"),
    ("variants", {"few_epochs": 33}, {"variant": "lstm"}, "each of 1 LSTMs, 100 seeds"),
    ("scaling", {"seconds": 7654.0}, {"seeds": 100}, "take 7,654 s with 100 seeds"),
    ("scaling", {"seconds": 4321.0}, {"seeds": 1000}, "and 4,321 s with 1,000 seeds"),
]


@pytest.mark.parametrize(("part", "values", "wanted", "told"), SHOWN)
def test_a_record_that_the_readme_does_not_show_is_a_fault(page, part, values, wanted, told):
    assert told not in text(page)
    change_row(page, part, values, **wanted)
    assert told in text(page)
    assert any(line.startswith("+") for line in faults(page))


def test_what_is_written_is_what_is_checked(page):
    folder = page.parent / "self"
    folder.mkdir()
    shutil.move(kept(page), folder / FILE)
    command = {"command": ["bn-compare", "time", "--self", "--out", str(folder)]}
    change_json(folder / FILE, lambda content: content.update(command))
    change_block(page, own_cost.NAME, lambda block: "")
    readme.write([own_cost.section(CostRecords.open(folder / FILE), ABOVE)], page)
    for name in ("README.md", f"docs/{own_cost.KEPT}"):
        assert (page.parent / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_busy_machine_is_told(page):
    def busy(**cores):
        def change(content):
            for name, part in content["parts"].items():
                part["other_cores"] = cores.get(name, 0.0)

        change_json(kept(page), change)

    busy()
    assert "busy" not in text(page)
    busy(bare=0.7, study=0.2)
    assert "Meanwhile other programs kept up to 0.7 cores busy (study, bare)." in text(page)


def test_another_machine_is_told(page):
    change_json(kept(page), lambda content: content["versions"].update(keras="9.9"))
    assert re.search(r"Measured on .*, 1 thread per framework; .*Keras 9\.9 on", text(page))
    records = CostRecords.open(kept(page))
    here = machine(records.content, devices=["cpu"], threads=1)
    assert "Measured on" not in own_cost.section(records, here).block


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["plan"].update(seeds=7), "at their defaults, received other seeds"),
        (lambda c: c["plan"].update(parts=["bare"]), "received other parts"),
        (lambda c: c["plan"]["sizes"].update(few_seeds=1), "received other sizes"),
        (lambda c: c.update(complete=False), "parity, interrupted: run `bn-compare time --self`"),
        (lambda c: c["parts"].pop("parity"), "finished, received .*, variants: run"),
    ],
)
def test_what_is_not_all_of_it_is_refused(page, change, message):
    change_json(kept(page), change)
    with pytest.raises(InputError, match=message) as found:
        section(page)
    assert str(found.value).startswith(f"{kept(page)}: expected all")


def test_more_repetitions_are_welcome(page):
    change_json(kept(page), lambda content: content["plan"].update(repetitions=50))
    assert faults(page) == []


@pytest.mark.parametrize("part", ["overhead", "study", "scaling", "bare", "variants"])
def test_a_row_that_is_missing_is_named(page, part):
    change_json(kept(page), lambda content: content["parts"][part]["rows"].clear())
    with pytest.raises(RunFolderError, match=f"expected in the part {part} a row.*, found none"):
        section(page)
