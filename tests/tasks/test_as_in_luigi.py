"""What every Luigi task does, an `AstraTask` does too; `tests.luigi_suite` says more, where it can run."""

import pytest

from tests.tasks.toy_tasks import Careless, Toy


def test_the_first_parameter_by_position_is_the_first_declared():
    assert Careless(4) == Careless(number=4)
    assert Toy("other", 3) == Toy(label="other", number=3)


@pytest.mark.filterwarnings("ignore:Use of param_args:DeprecationWarning")
def test_values_by_position_make_the_task_again():
    assert Careless(number=4).param_args == (4,)
    assert Toy(*Toy(number=3, label="other").param_args) == Toy(number=3, label="other")
