import pytest

from compare.errors import InputError
from compare.readme.marks import block_of, framed, marks, replaced

START, END = marks("Clocks")
OTHER = "\n\n".join(marks("Cost"))
PAGE = f"# Title\n\n{START}\n\nold\n\n{END}\n\n{OTHER}\n"


def test_a_block_is_what_stands_between_its_marks():
    assert block_of(PAGE, "Clocks", "README.md") == framed("old")


def test_nothing_but_the_block_is_replaced():
    assert replaced(PAGE, "Clocks", "new", "README.md") == PAGE.replace("old", "new")


def test_a_block_may_be_empty_at_first():
    empty = PAGE.replace(framed("old"), "\n")
    assert replaced(empty, "Clocks", "old", "README.md") == PAGE


@pytest.mark.parametrize(
    ("text", "received"),
    [
        ("", "0 and 0"),
        (PAGE.replace(START, ""), "0 and 1"),
        (PAGE.replace(END, ""), "1 and 0"),
        (PAGE + START, "2 and 1"),
        (PAGE + END, "1 and 2"),
        (f"{END}\n{START}", "them in another order"),
    ],
)
def test_marks_that_are_not_there_once_and_in_order_are_named(text, received):
    for use in (block_of, lambda *given: replaced(*given[:2], "new", given[2])):
        with pytest.raises(
            InputError, match=f"^README.md: expected the lines .*{received}"
        ) as found:
            use(text, "Clocks", "README.md")
        assert START in str(found.value)
        assert END in str(found.value)
