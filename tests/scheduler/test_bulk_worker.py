import queue

import luigi
import pytest

from astra.scheduler.bulk_worker import ResultQueue, cached_parameters


class HeldValues(luigi.Task):
    given = luigi.IntParameter(description="A number.")
    other = luigi.IntParameter(default=3, description="Another one.")


def test_parameters_are_looked_up_once_and_only_meanwhile():
    config = luigi.configuration.get_config()
    outside = luigi.Task.__dict__["get_params"], luigi.Parameter._get_value
    try:
        with cached_parameters():
            assert HeldValues(given=1).other == 3
            assert HeldValues.get_params() is HeldValues.get_params()
            config.set("HeldValues", "other", "5")
            assert HeldValues(given=2).other == 3
            with cached_parameters():
                assert HeldValues(given=3).other == 5
        assert HeldValues(given=4).other == 5
    finally:
        config.remove_section("HeldValues")
    assert (luigi.Task.__dict__["get_params"], luigi.Parameter._get_value) == outside


def test_a_parameter_that_is_missing_is_still_missing():
    with cached_parameters(), pytest.raises(luigi.parameter.MissingParameterException):
        HeldValues()


def test_results_come_in_order():
    results = ResultQueue()
    for number in range(3):
        results.put(number)
    assert [results.get() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(queue.Empty):
        results.get(timeout=0.01)
    results.close()
