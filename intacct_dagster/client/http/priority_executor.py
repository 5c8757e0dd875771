"""Threads that send requests, as many as may be in flight; what began first goes first."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")


class PriorityExecutor:
    """Calls in `number` threads, those of the lowest rank first; within a rank, in order.

    Objects that are read side by side would otherwise all be through at the same time, and be
    loaded one after the other when there is nothing left to read meanwhile. Threads are started
    when they are needed, and end with `close`.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._ranks = itertools.count()
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, Future[Any], Callable[[], Any]]] = []
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._changed = threading.Condition()

    def rank(self) -> int:
        """A rank below all that were given before it."""
        return next(self._ranks)

    def submit(self, rank: int, call: Callable[[], _T]) -> Future[_T]:
        """What `call` will give, or raise."""
        future: Future[_T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is closed")
            heapq.heappush(self._waiting, (rank, next(self._order), future, call))
            if len(self._waiting) > self._idle and len(self._threads) < self.number:
                thread = threading.Thread(target=self._run, name="intacct", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._changed.notify()
        return future

    def close(self) -> None:
        """Takes no more calls, gives up those that wait, and lets the threads end."""
        with self._changed:
            self._closed = True
            for _, _, future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._waiting and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._waiting:
                    return
                _, _, future, call = heapq.heappop(self._waiting)
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # it is the caller's, whatever it is
                future.set_exception(error)
            del future, call
