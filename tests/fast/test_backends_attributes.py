"""What objects hold is put back in the very containers that held it."""

from collections import OrderedDict, defaultdict, deque

import pytest

from compare.backends.attributes import attributes_as_found


class Part:
    def __init__(self):
        self.number, self.values, self.named = 1, [1, 2], {"a": [1], "b": {2}}
        self.ordered, self.queue = OrderedDict(a=1, b=2), deque([1, 2])
        self.state = defaultdict(dict)


class Counting(list):
    """A list that does something more as things come, as Keras' lists do."""

    added = 0

    def extend(self, values):
        self.added += 1
        super().extend(values)


class Cell:
    """A value that changes in place."""

    def __init__(self, value):
        self.value = value


def keep(thing):
    if not isinstance(thing, Cell):
        return None
    before = thing.value
    return lambda: setattr(thing, "value", before)


def found(part, opened=(Part,)):
    return attributes_as_found([part], opened, keep)


def test_everything_that_is_gained_changed_or_lost_is_put_back_in_place():
    part = Part()
    held = dict(vars(part))
    with found(part):
        part.number, part.more = 2, 3
        part.values += [3]
        part.named["a"].clear()
        part.named["b"].add(3)
        part.named["c"] = 1
        del part.ordered["a"]
        part.queue.rotate()
        part.state["x"]["step"] = 1
        part.values = []
        del part.number
    assert vars(part) == vars(Part())
    assert all(vars(part)[name] is value for name, value in held.items())
    assert list(part.ordered) == ["a", "b"]


def test_values_in_containers_within_parts_are_kept_once():
    cell, part = Cell(1), Part()
    part.inner = Part()
    part.inner.pair, part.cell, part.inner.outer = (cell, 1), cell, part
    kept = []

    def keeping(thing):
        kept.append(thing)
        return keep(thing)

    with attributes_as_found([part], (Part,), keeping):
        cell.value = 2
        part.inner.pair = None
    assert cell.value == 1
    assert part.inner.pair == (cell, 1)
    assert kept.count(cell) == 1


def test_what_is_not_opened_is_put_back_as_it_is():
    part = Part()
    part.other = other = Cell(Part())
    with attributes_as_found([part], (Part,), lambda thing: None):
        other.value.number = 5
        part.other = None
    assert part.other is other
    assert other.value.number == 5


def test_a_list_that_does_more_is_put_back_without_it_and_keeps_its_attributes():
    part = Part()
    part.values = values = Counting([1])
    with found(part):
        values.extend([2])
    assert (values, values.added) == ([1], 0)
    assert "added" not in vars(values)


def test_it_is_put_back_where_the_block_raises():
    part = Part()
    with pytest.raises(RuntimeError), found(part):
        part.values.append(3)
        raise RuntimeError
    assert part.values == [1, 2]
