"""The central scheduler and the workers at scale.

Luigi's scheduler looks at every waiting task whenever a worker asks for work, counts them all, and keeps its
state in memory. Here it is a subclass with a queue of the tasks that may run, calls for many tasks at once,
and a journal from which it starts again. What it decides is what Luigi's decides; the tests drive both.

``scheduled_task``, ``ready``, ``task_state``
    A task and its kind; the queue of those that may run; the state with its indexes.
``choice``, ``counts``, ``additions``, ``due``, ``retries``
    Which task a worker gets; how much is left for it; what a report changes; what falls due, and again.
``central``, ``leases``, ``goings_on``, ``bulk``, ``pages``
    The scheduler, what becomes of what a dead worker had, what workers ask about each other, the calls for
    many tasks, the limits of its pages.
``records``, ``journal``, ``latest``, ``durable``
    The state as text, the file that holds it, what of that still holds, the scheduler that writes it.
``access``, ``arguments``, ``server``
    Who may call, and with what; the server.
``connections``, ``remote``, ``inquiries``, ``held_work``, ``bulk_worker``, ``pooled_worker``, ``processes``
    The caller's side: its connections and messages, what it holds, its plan, and the processes that run its
    tasks.
"""
