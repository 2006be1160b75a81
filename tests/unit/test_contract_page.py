"""The contract page says what the code does: examples are read, tables name every field, limit and disposition."""

import re
from typing import get_args

import msgspec
import pytest

from sojourn.events import codec
from sojourn.events import fields as limits
from sojourn.events.codec import REASONS, decode
from sojourn.events.topics import COMMANDS, HEARTBEATS, LIFECYCLE, PARTITIONS_DEFAULT
from sojourn.events.types import EVENT_TYPES, Event, type_name
from sojourn.projections.session import MEMORY_DAYS, SEEN_EVENTS_MAX
from sojourn.projections.states import DISPOSITIONS
from tests.unit.tree import ROOT

PAGE = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
SECTIONS = dict(zip(*[iter(re.split(r"^##+ (.+)$", PAGE, flags=re.MULTILINE)[1:])] * 2, strict=True))
EXAMPLES = re.findall(r"^```json\n(.+?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def fields(kind: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Return the names of a struct's fields; those of a struct within it after its name and a dot."""
    names = set()
    for field in msgspec.structs.fields(kind):
        within = [part for part in (field.type, *get_args(field.type)) if isinstance(part, type)]
        struct = next((part for part in within if issubclass(part, msgspec.Struct)), None)
        is_part = struct is not None and field.type is struct
        names |= fields(struct, f"{field.name}.") if struct is not None and is_part else {prefix + field.name}
    return names


def data_of(kind: type[Event]) -> type[msgspec.Struct]:
    annotation = next(field.type for field in msgspec.structs.fields(kind) if field.name == "data")
    return next(
        part for part in (annotation, *get_args(annotation)) if part is not type(None) and isinstance(part, type)
    )


def first_cells(section: str) -> set[str]:
    """Return what stands in code marks in the first column of a section's tables."""
    cells = re.findall(r"^\| (`[^|]+) \|", SECTIONS[section], flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_example_on_the_page_is_an_event() -> None:
    decoded = [decode(example.encode()) for example in EXAMPLES]

    assert {type(event) for event in decoded} == set(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_each_event_types_table_names_exactly_the_fields_of_its_data(kind: type[Event]) -> None:
    assert first_cells(f"`{type_name(kind)}`") == fields(data_of(kind))


def test_the_table_of_attributes_names_exactly_those_of_the_types() -> None:
    attributes = {name for kind in EVENT_TYPES for name in kind.__struct_fields__ if name != "data"} | {"type"}

    assert first_cells("An event") == attributes


def test_the_table_of_reasons_has_them_in_the_order_in_which_they_apply() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", SECTIONS["Reasons for a dead letter"], flags=re.MULTILINE)

    assert tuple(rows) == REASONS


def test_the_table_of_dispositions_names_exactly_those_there_are() -> None:
    assert first_cells("Dispositions") == DISPOSITIONS.keys()


def test_the_topics_and_their_partitions_are_named() -> None:
    assert first_cells("Topics and partitions") == {LIFECYCLE, HEARTBEATS, COMMANDS}
    assert f"partitions, {PARTITIONS_DEFAULT} by default" in SECTIONS["Topics and partitions"]


@pytest.mark.parametrize(
    ("section", "limit"),
    [
        ("Limits", f"{codec.VALUE_BYTES_MAX:,} bytes, {codec.DEPTH_MAX} brackets deep"),
        ("Limits", f"1 to {limits.ID_CHARACTERS_MAX} characters"),
        ("Limits", f"1 to {limits.TEXT_CHARACTERS_MAX:,} characters"),
        ("Limits", f"| `sessions` of one `heartbeats` | {limits.SESSIONS_PER_BATCH_MAX:,} |"),
        ("Limits", f"{codec.INTEGER_DIGITS_MAX:,} digits"),
        ("Limits", f"±{2**63 - 1:,}"),
        ("Identity", f"{MEMORY_DAYS} days of append time"),
        ("Identity", f"At most {SEEN_EVENTS_MAX} events"),
    ],
)
def test_each_limit_on_the_page_is_the_one_in_the_code(section: str, limit: str) -> None:
    assert limit in SECTIONS[section]
