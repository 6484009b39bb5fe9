import pytest

from compare.errors import InputError
from compare.porting.matching import match, partners


def layer(name, kind="dense", **tensors):
    return {"name": name, "kind": kind, "tensors": tensors or {"kernel": [2, 2]}, "trained": 4}


def found(keras, torch, pairs=None):
    matched = match(keras, torch, pairs)
    return {pair.keras["name"]: (pair.torch["name"], pair.how) for pair in matched}


def test_the_same_name_comes_before_order():
    keras = [layer("a"), layer("b")]
    torch = [layer("c"), layer("a")]
    assert found(keras, torch) == {"a": ("a", "name"), "b": ("c", "order")}


def test_shapes_tell_what_runs_in_another_order():
    keras = [layer("wide", kernel=[2, 8]), layer("narrow", kernel=[2, 3])]
    torch = [layer("shortcut", kernel=[2, 3]), layer("main", kernel=[2, 8])]
    assert found(keras, torch) == {"wide": ("main", "order"), "narrow": ("shortcut", "order")}


def test_what_order_alone_tells_is_said_to_be_that():
    keras = [layer("query"), layer("key")]
    torch = [layer("q"), layer("k")]
    assert found(keras, torch) == {"query": ("q", "order alone"), "key": ("k", "order alone")}
    given = found(keras, torch, {"query": "k"})
    assert given == {"query": ("k", "pairs"), "key": ("q", "order")}


def test_without_the_same_shapes_the_first_of_the_kind_is_compared():
    assert found([layer("a", kernel=[2, 8])], [layer("b", kernel=[2, 9])]) == {"a": ("b", "order")}


def test_what_has_no_partner_is_left_out():
    keras = [layer("conv", "conv"), layer("dense")]
    matched = match(keras, [layer("linear")])
    assert partners(matched) == {"linear": "dense"}


def test_the_same_name_is_no_partner_of_another_kind():
    keras = [layer("out", "conv"), layer("hidden")]
    torch = [layer("out"), layer("features", "conv")]
    assert partners(match(keras, torch)) == {"features": "out", "out": "hidden"}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"b": "c"}, r"unknown Keras layer 'b'"),
        ({"a": "x.y"}, r"unknown Torch layer 'x\.y'"),
        ({"a": "d", "z": "d"}, r"unknown Torch layer 'd'"),
    ],
)
def test_pairs_that_are_not_there_are_refused(pairs, message):
    with pytest.raises(InputError, match=message):
        match([layer("a"), layer("z")], [layer("d"), layer("e")], pairs)


def test_dots_and_slashes_name_the_same_module():
    keras, torch = [layer("a")], [layer("net/0")]
    assert found(keras, torch, {"a": "net.0"}) == found(keras, torch, {"a": "net/0"})
