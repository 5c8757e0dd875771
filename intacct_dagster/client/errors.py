"""One tree of errors: what happened, to which entity and object, and what to do about it.

For a write, the class says what became of it. `OutcomeUnknown` means that nobody knows; every other
class means that nothing was created.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorDetail:
    """One entry of an error's `details`. `target` is a JSON pointer such as "/lines/0/txnAmount".

    Positions in `target` and in messages count from 0 (observed by client authors).
    """

    code: str | None
    message: str
    error_id: str | None
    target: str | None


@dataclass(frozen=True)
class About:
    """What a request is about, for error messages."""

    entity: str | None = None
    object: str | None = None

    def __str__(self) -> str:
        where = f"entity {self.entity}" if self.entity else "the top level"
        return f"{self.object} of {where}" if self.object else where


class IntacctError(Exception):
    """Something went wrong between us and Sage Intacct; `str()` is one or two lines.

    `entity` is None at top level; `object` is a REST name such as "accounts-payable/bill".
    `error_id`, `code`, `support_id` and `details` are Intacct's own, where it gave them.
    `retry_after` is the number of seconds that Intacct asked us to wait, where it did.
    """

    def __init__(  # noqa: PLR0913 - the facts of an error, each by its name
        self,
        what: str,
        *,
        entity: str | None = None,
        object: str | None = None,
        http_status: int | None = None,
        error_id: str | None = None,
        code: str | None = None,
        support_id: str | None = None,
        details: tuple[ErrorDetail, ...] = (),
        remedy: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.entity = entity
        self.object = object
        self.http_status = http_status
        self.error_id = error_id
        self.code = code
        self.support_id = support_id
        self.details = details
        self.remedy = remedy
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.what}\n{self.remedy}" if self.remedy else self.what


class NotReached(IntacctError):
    """The request certainly never arrived: no connection, or no session to send it with."""


class NoRequestSlot(NotReached):
    """No other request ended in time for this one to be sent. Waiting longer is no use."""


class OutcomeUnknown(IntacctError):
    """A write was sent and nobody knows what became of it. Never repeat it blindly."""


class AddressRefused(IntacctError):
    """Secrets may not be sent to an address. Nothing was sent."""


class AuthenticationRefused(IntacctError):
    """Intacct does not accept who we say we are. Nothing was read or written."""


class AccessDenied(IntacctError):
    """The user may not do this, or has no access to the entity. Nothing was read or written."""


class RequestRefused(IntacctError):
    """Intacct understood and refused (400, 404, 405, 409, 422), or we knew that it would."""


class Throttled(IntacctError):
    """Intacct asked us to slow down (429, or 503 on a read) and still did after several tries."""


class ServerFailed(IntacctError):
    """A read failed on Intacct's side or on the way back, and still did after several tries."""


class AnswerTooSlow(ServerFailed):
    """A read had not ended when the time for a request had passed. It is not tried again."""


class AnswerNotUnderstood(IntacctError):
    """An answer that does not have the documented shape. Nothing of it was used."""


class AnswerTooLarge(AnswerNotUnderstood):
    """An answer has more bytes than an answer may have. What came of it was thrown away."""


class PaginationIncomplete(IntacctError):
    """Rows could not be proven complete within the attempts allowed. Nothing of them is kept."""


class ClockWrong(IntacctError):
    """The clock of this machine is not to be trusted. Nothing was sent, and nothing settled."""


class HistoryWentBack(IntacctError):
    """Many records are as they were before: the company was refreshed from a copy, perhaps."""


class WrongEntity(IntacctError):
    """A row of another entity came back, or the session is of another entity."""
