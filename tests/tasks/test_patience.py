from astra.tasks import patience
from astra.tasks.patience import Patience


def test_each_failure_in_a_row_doubles_the_delay_up_to_the_longest(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    tried = Patience(2.0, 10.0)
    assert tried.is_due("queue")
    assert [tried.put_off("queue") for _ in range(5)] == [2.0, 4.0, 8.0, 10.0, 10.0]
    assert tried.is_due("room")
    now[0] += 9.9
    assert not tried.is_due("queue")
    now[0] += 0.2
    assert tried.is_due("queue")
    tried.succeed("queue", 3.0)
    assert not tried.is_due("queue")
    assert tried.put_off("queue") == 2.0
