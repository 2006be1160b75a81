"""What the fields of events may hold."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

ID_CHARACTERS_MAX = 200  # ids stand in keys and indexes; a broker's own are a tenth of this
TEXT_CHARACTERS_MAX = 1000  # names and details are shown in a table cell, not read as documents
SESSIONS_PER_BATCH_MAX = 10_000  # with ids of 36 characters half of the record's 1 MiB

_TENANT = "^[a-z0-9][a-z0-9-]{0,62}$"
_NO_CONTROLS = {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}
_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_WHOLE = {"pattern": "^-?[0-9]{1,19}$"}
_ADDRESS = {"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}

# What stands in `extra_json_schema` is for readers of the schemas; codec.py judges it, with its own public reasons.

Tenant = Annotated[str, Meta(max_length=63, extra_json_schema={"pattern": _TENANT})]
Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX, extra_json_schema=_NO_CONTROLS)]
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX, extra_json_schema=_NO_NUL)]
Required = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, extra_json_schema=_NO_CONTROLS)]
Address = Annotated[str, Meta(extra_json_schema=_ADDRESS)]
Sequence = Annotated[str, Meta(extra_json_schema=_WHOLE)] | int
Instant = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]
PartitionNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1)]

TerminalType = Literal["thin_client", "soft_client", "mobile", "browser", "other"]
Access = Literal["internal", "public"]
Reason = Literal["logoff", "idle_timeout", "admin_disconnect", "network", "error", "broker_shutdown", "unknown"]
Partitioner = Literal["murmur2", "crc32"]
CommandKind = Literal["disconnect", "log_off", "send_message"]
Evidence = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, extra_json_schema=_NO_CONTROLS)]
