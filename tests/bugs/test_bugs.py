"""Every known port bug, injected: it must be caught on its rung, with its layer blamed."""

import pytest

from bugs import BUGS
from compare.parity.ladder import RUNGS
from compare.selftest.bugs import one_per_rung
from compare.selftest.runner import Injector
from compare.spec import VARIANTS

ALL = (*one_per_rung().values(), *BUGS.values())


@pytest.fixture(scope="module")
def injector(both, tmp_path_factory):
    """Works in this process; Keras' side of a variant is computed once for all of its bugs."""

    def call_of(framework):
        return lambda job: job(framework, lambda epoch: None)

    calls = {name: call_of(framework) for name, framework in both.items()}
    return Injector(calls, tmp_path_factory.mktemp("bugs"))


def test_the_registers_are_complete():
    assert len(ALL) == 108
    assert not one_per_rung().keys() & BUGS.keys()
    for bug in ALL:
        assert bug.variant in VARIANTS
        assert bug.rung in RUNGS
        assert bug.description
        assert bug.size is None or bug.size > 0


@pytest.mark.sampled(14)
@pytest.mark.parametrize("bug", ALL, ids=lambda bug: bug.name)
def test_a_bug_is_caught_on_its_rung_with_its_layer_blamed(injector, bug):
    result = injector.inject(bug)
    assert result.caught, result.divergence
    assert result.misexplained == ()
    if bug.unit:
        assert result.smallest_size <= bug.size
