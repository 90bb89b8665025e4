"""What every Luigi task does, an `AstraTask` does too; `tests.luigi_suite` says more, where it can run."""

import luigi
import pytest

import astra
from astra.tasks.base import AstraTask
from tests.tasks.toy_tasks import Careless, Toy


class Forgetful(AstraTask):
    """A task whose __init__ forgets that of its base."""

    def __init__(self):
        pass


class Mistaken(AstraTask):
    """Require what is no task."""

    def requires(self):
        return ["a file"]


class Several(AstraTask):
    """Ask for two tasks at once while it runs, in Luigi's own wrapping."""

    number = luigi.IntParameter(description="The first number.")

    def run(self):
        first, second = yield luigi.DynamicRequirements(
            [Toy(number=self.number), Toy(number=self.number + 1)]
        )
        return [first.path, second.path]


class Counted(AstraTask):
    """Do nothing, for a number or for none."""

    number = luigi.IntParameter(default=None, description="The number.")

    def run(self):
        pass


class Brief(AstraTask):
    """Take parameters whose names are the beginnings of several options of the ``luigi`` command."""

    n = luigi.IntParameter(description="A number.")
    a = luigi.IntParameter(description="Another number.")

    def run(self):
        pass


def build(*tasks, **options):
    return luigi.build(list(tasks), local_scheduler=True, log_level="WARNING", **options)


def test_the_first_parameter_by_position_is_the_first_declared():
    assert Careless(4) == Careless(number=4)
    assert Toy("other", 3) == Toy(label="other", number=3)


@pytest.mark.filterwarnings("ignore:Use of param_args:DeprecationWarning")
def test_values_by_position_make_the_task_again():
    assert Careless(number=4).param_args == (4,)
    assert Toy(*Toy(number=3, label="other").param_args) == Toy(number=3, label="other")


def test_dynamic_requirements_may_be_wrapped(astra_root):
    task = Several(number=1)
    assert build(task)
    assert task.complete()
    assert build(Toy(number=5), Toy(number=6))
    [result] = astra.run(Several, [{"number": 5}], do_return_results=True)
    assert [path.rpartition("/")[2] for path in result.result] == ["toy-plain-5-n.txt", "toy-plain-6-n.txt"]


def test_a_forgotten_init_is_named(astra_root):
    with pytest.raises(luigi.worker.TaskException, match="forget to call super"):
        build(Forgetful())


def test_a_requirement_that_is_no_task_is_named(astra_root):
    with pytest.raises(Exception, match="must return Task objects but a file"):
        build(Mistaken())


def test_the_summary_names_tasks_by_their_public_parameters(astra_root):
    tasks = [*map(Careless, range(4)), Toy(number=1), Toy(number=(2, 3))]
    summary = build(*tasks, detailed_summary=True).summary_text
    assert "4 toy_space.Careless(number=0...3)" in summary
    assert "2 Toy(...)" in summary


def test_the_summary_stands_values_that_have_no_order(astra_root):
    summary = build(Counted(), Counted(number=1), detailed_summary=True).summary_text
    assert "2 ran successfully" in summary


def test_a_parameter_may_be_the_beginning_of_many_options(astra_root):
    assert luigi.run(["Brief", "--n", "1", "--a", "2", "--local-scheduler"])
    assert Brief(n=1, a=2).complete()


def test_options_can_be_abbreviated_as_in_luigi(astra_root):
    assert luigi.run(["Brief", "--n", "1", "--a", "2", "--local-sch"])
    with pytest.raises(SystemExit):
        luigi.run(["Brief", "--n", "1", "--a", "2", "--local-scheduler", "--no"])
