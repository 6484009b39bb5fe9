from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from compare.errors import InputError, RunFolderError
from compare.readme import page
from compare.readme.marks import marks
from compare.readme.section import Section, no_figures


def drawing(size=20):
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([0, 1], [0, 1], linewidth=size)
    return figure


def kept(docs):
    (docs / "one.json").write_text("{}", encoding="utf-8")


@pytest.fixture
def sections(tmp_path):
    one = Section(
        name="One",
        source=tmp_path / "one",
        block="1\n2",
        figures=lambda: iter([("line", drawing())]),
        keep=kept,
    )
    two = replace(one, name="Two", block="3", figures=no_figures, keep=lambda docs: None)
    return [one, two]


@pytest.fixture
def readme(tmp_path, sections):
    lines = ["# Title", *(mark for section in sections for mark in marks(section.name)), "End"]
    (tmp_path / "README.md").write_text("\n".join(lines), encoding="utf-8")
    page.write(sections, tmp_path / "README.md")
    return tmp_path / "README.md"


def test_what_is_written_is_what_is_checked(readme, sections):
    assert "\n\n1\n2\n\n" in readme.read_text(encoding="utf-8")
    assert {file.name for file in readme.parent.glob("docs/*")} == {"line.png", "one.json"}
    assert page.faults(sections, readme) == []
    before = readme.read_bytes()
    page.write(sections, readme)
    assert readme.read_bytes() == before


def test_faults_of_every_section_are_told(readme, sections):
    one, two = sections
    changed = [replace(one, block="1\n5"), replace(two, block="4")]
    found = [line for line in page.faults(changed, readme) if line[1:] in {"2", "5", "3", "4"}]
    assert found == ["-2", "+5", "-3", "+4"]


def test_another_figure_is_a_fault(readme, sections):
    thinner = replace(sections[0], figures=lambda: iter([("line", drawing(10))]))
    (fault,) = page.faults([thinner], readme)
    assert "line.png: not the figure of these records: root mean square" in fault
    (readme.parent / "docs" / "line.png").unlink()
    (fault,) = page.faults(sections, readme)
    assert fault.endswith("line.png: expected a figure, found none")


def test_nothing_is_written_where_a_mark_is_missing(tmp_path, sections):
    file = tmp_path / "README.md"
    file.write_text("\n".join(marks("One")), encoding="utf-8")
    before = file.read_bytes()
    for use in (page.write, page.faults):
        with pytest.raises(InputError, match=r"--readme .*: expected the lines '<!-- Two"):
            use(sections, file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_readme_that_cannot_be_read_is_named(tmp_path, sections):
    with pytest.raises(InputError, match=r"--readme .*README.md: cannot be read"):
        page.write(sections, tmp_path / "README.md")


def test_what_cannot_be_written_is_told(readme, sections):
    (readme.parent / "docs" / "line.png").unlink()
    (readme.parent / "docs" / "line.png").mkdir()
    with pytest.raises(RunFolderError, match=r"README.md, or docs beside it: cannot be written"):
        page.write(sections, readme)
