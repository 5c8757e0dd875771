"""The right to renew a session, and a slot for the request: nobody waits for one with the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final, TypeVar

from intacct_dagster.client.auth.tokens import TokenStore
from intacct_dagster.client.errors import About, NoRequestSlot
from intacct_dagster.client.http.rate_limit import RequestSlot
from intacct_dagster.client.http.transport import Transport

_T = TypeVar("_T")

#: Rounds in each of which either the right or a slot is waited for.
_ROUNDS: Final = 40


class SoleRight:
    """The right to change the stored session `name`, which is a lease over all processes.

    A lease runs out. Whoever waits with one in hand may wake up when another process has renewed
    the session, and would then send a refresh token that was used, which can end the consent.
    `taking` and `giving_back` are entered around the two steps.
    """

    def __init__(
        self,
        store: TokenStore,
        name: str,
        transport: Transport,
        about: About,
        taking: Callable[[], AbstractContextManager[None]],
        giving_back: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._store = store
        self._name = name
        self._transport = transport
        self._about = about
        self._taking = taking
        self._giving_back = giving_back

    def use(self, look: Callable[[], _T | None], act: Callable[[RequestSlot], _T]) -> _T:
        """Return what `look` finds or, where that is None, what `act` does with a slot.

        Both are called with the right in hand.

        Raises:
            NoRequestSlot: Other requests never let this one be sent.
        """
        for _ in range(_ROUNDS):
            with self._held():
                found = look()
                if found is not None:
                    return found
                with self._transport.slot_at_once() as slot:
                    if slot is not None:
                        return act(slot)
            with self._transport.slot(self._about) as slot, self._held_at_once() as held:
                if held:
                    found = look()
                    return act(slot) if found is None else found
        raise NoRequestSlot(
            f"The session at {self._about} was not renewed: the right to do so and a free request "
            f"never came together in {_ROUNDS} tries.",
            remedy="Run fewer things at once, and run this again.",
            entity=self._about.entity,
        )

    @contextmanager
    def _held(self) -> Iterator[None]:
        with ExitStack() as held:
            with self._taking():
                held.enter_context(self._store.lock(self._name))
            yield
            with self._giving_back():
                held.close()

    @contextmanager
    def _held_at_once(self) -> Iterator[bool]:
        with ExitStack() as held:
            with self._taking():
                taken = held.enter_context(self._store.try_lock(self._name))
            yield taken
            with self._giving_back():
                held.close()
