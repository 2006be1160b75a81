"""Nothing is spooled or sent that the contract refuses: the caller hears of it, while it still knows why."""

from typing import Final

from sojourn.events.codec import Undecodable, decode, encode
from sojourn.events.errors import UsageError
from sojourn.events.types import SOJOURN, Event

# What the codec calls what it refuses does not always name the field, since its detail stands beside the reason.
_FIELDS: Final = {
    "bad_tenant": "tenant",
    "bad_subject": "session_id",
    "bad_time": "at",
    "bad_ip": "data.client_ip",
    "too_large": "data",
}


def checked(event: Event) -> bytes:
    """Return the event as bytes that the contract's own codec reads; raises `UsageError` that names the field."""
    if event.source == SOJOURN:
        raise UsageError(f"source: {SOJOURN!r} is Sojourn's own, and no broker's")
    try:
        value = encode(event)
        decode(value)
    except Undecodable as error:
        field = _FIELDS.get(error.reason)
        raise UsageError(error.detail if field is None else f"{field}: {error.detail}") from None
    except (TypeError, ValueError, OverflowError) as error:  # what JSON has no way to write
        raise UsageError(f"the event cannot be written as JSON: {error}") from None
    return value
