"""Processes that stay and run task after task, and the certainty that none of them outlives its worker.

``tree``
    What a process has started, the memory of all of it, and how all of it is ended.
``guardian``
    The process that ends the others when the worker is gone without a word.
``member``
    What goes on in a process of the pool.
``pool``
    The worker's side: processes are made when they are needed, given tasks, looked at, and replaced.
``ending``
    What a worker does when it is asked to end.

A process is a fork of the worker, so that it has all that was planned by then: a task is named by its id and
need not be sent. What has become known since, by ``yield`` in a `run` or from the scheduler, is named by
module, family and parameters too. One message goes to a process for each task and one comes back, through a
pair of sockets of its own; without any thread. The process is never shared by two tasks at a time, and is not
used again when it has left processes behind, grown too large, or raised out of Luigi's own code.
"""
