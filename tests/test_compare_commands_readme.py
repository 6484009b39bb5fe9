import re
import shutil

import pytest
from readme_copy import ROOT, change_block, copied
from typer import Exit

from compare.cli import app
from compare.commands.readme import readme
from compare.cost import records as cost_records
from compare.errors import RunFolderError
from compare.readme import clocks, own_cost, screen
from compare.timing import records as timing_records


@pytest.fixture
def page(tmp_path):
    return copied(tmp_path)


@pytest.fixture(autouse=True)
def unseen(monkeypatch):
    monkeypatch.setattr("compare.readme.page.drawn", lambda section: iter(()))


def check(page):
    with pytest.raises(Exit) as ended:
        readme(path=page, check=True)
    return ended.value.exit_code


@pytest.mark.parametrize("name", [screen.NAME, clocks.NAME, own_cost.NAME])
def test_a_check_exits_1_with_what_differs_in_any_block(page, name, capsys):
    assert check(page) == 0
    assert "have it" in capsys.readouterr().out
    change_block(page, name, lambda block: re.sub(r"\d\.\d+", "0.98765", block, count=1))
    assert check(page) == 1
    assert "0.98765" in capsys.readouterr().out
    readme(path=page)
    assert page.read_bytes() == (ROOT / "README.md").read_bytes()


def test_folders_that_are_named_count_instead_of_what_is_kept(page, capsys):
    docs, folders = page.parent / "docs", page.parent / "runs"
    kept = (
        (screen.KEPT, "run", ""),
        (clocks.KEPT, "time", timing_records.FILE),
        (own_cost.KEPT, "self", cost_records.FILE),
    )
    for name, folder, file in kept:
        (folders / folder).parent.mkdir(exist_ok=True)
        if file:
            (folders / folder).mkdir()
        shutil.move(docs / name, folders / folder / file)
    given = [str(folders / "run"), "--timing", str(folders / "time"), "--cost"]
    command = ["readme", *given, str(folders / "self"), "--readme", str(page)]
    app(command, standalone_mode=False)
    assert f"written from {folders / 'run'}, " in capsys.readouterr().out
    assert check(page) == 0
    for name in (clocks.KEPT, own_cost.KEPT):
        assert (docs / name).read_bytes() == (ROOT / "docs" / name).read_bytes()


@pytest.mark.parametrize("option", ["timing", "cost"])
def test_a_folder_without_records_is_refused(page, tmp_path, option):
    before = page.read_bytes()
    with pytest.raises(RunFolderError, match=r"expected the records of `bn-compare time"):
        readme(path=page, **{option: tmp_path / "nothing"})
    assert page.read_bytes() == before
