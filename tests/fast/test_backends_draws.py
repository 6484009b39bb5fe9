import numpy as np
import pytest

from compare.backends.draws import EVALUATION, Draw, Draws, SharedDraws, numbers, rehearsed
from compare.backends.reordering import agreeing, nearest, reorderings

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(4, 3, 3, 3))  # every axis but the first as long as the others


def first(*asked):
    draws = Draws()
    draws.begin(1)
    values = [draws.take(draw, entered)[1] for draw, entered in asked]
    return draws, values


def uniform(*shape, **how):
    return Draw("uniform", shape, thresholded=True, **how)


def found(keras, torch):
    return nearest(list(reorderings(keras.shape, torch.shape)), keras, torch)


HELD = {
    "as it is": lambda x: x,
    "channels first": lambda x: np.moveaxis(x, -1, 1),
    "time first": lambda x: x.swapaxes(0, 1),
    "rows and columns exchanged": lambda x: x.transpose(0, 2, 1, 3),
    "flattened channels first": lambda x: np.moveaxis(x, -1, 1).reshape(4, -1),
    "heads and samples in one": lambda x: x.reshape(12, 3, 3),
}


@pytest.mark.parametrize("held", HELD.values(), ids=HELD)
def test_values_tell_how_an_image_is_held(held):
    reordering = found(IMAGE, held(IMAGE))
    np.testing.assert_array_equal(reordering(IMAGE), held(IMAGE))
    assert agreeing(reordering, IMAGE, held(IMAGE))


def test_values_tell_in_which_order_an_image_was_flattened():
    keras, torch = IMAGE.reshape(4, -1), np.moveaxis(IMAGE, -1, 1).reshape(4, -1)
    np.testing.assert_array_equal(found(keras, torch)(keras), torch)


def test_other_values_are_taken_as_they_stand_and_do_not_agree():
    other = RNG.normal(size=IMAGE.shape)
    reordering = found(IMAGE, other)
    np.testing.assert_array_equal(reordering(IMAGE), IMAGE)
    assert not agreeing(reordering, IMAGE, other)
    assert not agreeing(reordering, IMAGE, np.full_like(IMAGE, np.nan))


def test_one_number_per_channel_follows_the_channels():
    mask = RNG.random((4, 1, 1, 3))
    moved = found(IMAGE, np.moveaxis(IMAGE, -1, 1)).numbers(mask, (4, 3, 1, 1))
    np.testing.assert_array_equal(moved, np.moveaxis(mask, -1, 1))


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("n", [20, 1000])
def test_uniform_numbers_drop_as_much_as_the_rate_says(rate, n):
    values = numbers("uniform", (n,), (1, 0))
    assert abs(int((values < rate).sum()) - rate * n) <= 1
    assert values.min() > 0.0
    assert values.max() < 1.0
    # Neither the numbers nor the comparison depends on the dtype.
    assert np.array_equal(values.astype(np.float32).astype(float), values)
    assert np.array_equal(values < rate, values.astype(np.float32) < np.float32(rate))


def test_a_step_gets_the_same_numbers_whenever_it_is_taken():
    draws = Draws()
    steps = []
    for step in (1, 2, 1, EVALUATION):
        draws.begin(step)
        steps.append([draws.take(uniform(8))[1] for _ in range(2)])
    np.testing.assert_array_equal(steps[0], steps[2])
    every = [tuple(values) for step in (steps[0], steps[1], steps[3]) for values in step]
    assert len(set(every)) == 6


def test_a_partner_gets_the_numbers_where_its_values_stand():
    keras, (mask,) = first((uniform(*IMAGE.shape), IMAGE))
    shared = SharedDraws(keras)
    for _ in range(2):
        shared.begin(1)
        torch = np.moveaxis(IMAGE, -1, 1)
        _, values = shared.take(uniform(*torch.shape), torch)
        np.testing.assert_array_equal(values, np.moveaxis(mask, -1, 1))
    # A later step, in which nothing is looked at, keeps the layout.
    keras.begin(2)
    shared.begin(2)
    later = keras.take(uniform(*IMAGE.shape))[1], shared.take(uniform(*torch.shape))[1]
    np.testing.assert_array_equal(later[1], np.moveaxis(later[0], -1, 1))
    assert not np.array_equal(later[1], values)


def test_what_is_missing_does_not_shift_what_follows():
    inputs = [RNG.normal(size=(4, 5)) for _ in range(3)]
    keras, masks = first(*((uniform(4, 5), x) for x in inputs))
    shared = SharedDraws(keras)
    shared.begin(1)
    values = [shared.take(uniform(4, 5), inputs[i])[1] for i in (0, 2)]
    np.testing.assert_array_equal(values, [masks[0], masks[2]])
    assert shared.left() == [1]
    assert shared.missing() == []
    shared.take(uniform(4, 5), RNG.normal(size=(4, 5)))
    assert shared.left() == []
    assert not shared.passes[1].draws[-1].agrees
    own = [shared.take(uniform(4, 5), inputs[0])[1] for _ in range(2)]
    assert shared.missing() == [3, 4]
    assert not np.array_equal(*own)


def test_another_kind_of_draw_gets_other_numbers():
    keras, (mask,) = first((uniform(4, 1, 1, 3), IMAGE))
    shared = SharedDraws(keras)
    shared.begin(1)
    _, values = shared.take(uniform(*IMAGE.shape), IMAGE)
    assert shared.left() == []
    assert shared.passes[1].draws[0].agrees
    assert not (values == mask).any()
    shared.begin(1)
    shared.take(Draw("normal", IMAGE.shape), IMAGE)
    assert shared.left() == [0]
    assert shared.missing() == [0]


@pytest.mark.parametrize("keeps_small", [False, True])
def test_a_comparison_may_keep_the_small_numbers_or_the_large(keeps_small):
    x = RNG.normal(size=(10, 3))
    keras, (values,) = first((Draw("uniform", (10, 1)), x))
    output = x * (values >= 0.3)
    keras.returned(0, output)
    keras.output(output)
    results = []

    def run(draws):
        draws.begin(1)
        place, values = draws.take(Draw("uniform", (10, 1)), x)
        results.append(x * (values < 0.7 if keeps_small else values >= 0.3))
        draws.returned(place, results[-1])
        draws.output(results[-1])

    shared = rehearsed(keras, run)
    assert shared.mirrored == ({0} if keeps_small else set())
    run(shared)
    np.testing.assert_array_equal(results[-1], output)


def test_without_values_the_usual_axes_are_taken_and_what_could_be_two_is_refused():
    for shapes, refused in ((((4, 3, 3, 5), (4, 5, 3, 3)), False), (((4, 3, 3, 3),) * 2, True)):
        keras, (mask,) = first((uniform(*shapes[0]), None))
        shared = SharedDraws(keras)
        shared.begin(1)
        _, values = shared.take(uniform(*shapes[1], path="drop"))
        assert bool(shared.unshared) is refused
        if not refused:
            np.testing.assert_array_equal(values, np.moveaxis(mask, -1, 1))


def test_a_trace_keeps_what_was_drawn():
    keras, _ = first((uniform(4, 1, 1, 3, path="drop", rate=0.5), IMAGE))
    keras.returned(0, IMAGE)
    keras.output(IMAGE)
    kept = Draws.read(dict(keras.arrays()))
    assert kept.passes[1].draws == keras.passes[1].draws
    for ours, theirs in zip(kept.passes[1].entered, keras.passes[1].entered, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(kept.passes[1].returned[0], IMAGE)
    assert dict(Draws().arrays()) == {}
    assert not Draws.read({}).drawn
