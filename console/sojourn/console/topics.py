"""`sojourn topics create`: Sojourn's topics on Kafka, made or checked."""

import os
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from sojourn.console.opening import DataDir, Json
from sojourn.console.output import Columns, write_json, write_line
from sojourn.events.errors import UsageError
from sojourn.events.kafka.settings import BOOTSTRAP_SERVERS
from sojourn.events.kafka.topics import create_topics
from sojourn.events.settings import Settings

PARTITIONS_MAX: Final = 1000  # each has an owner with its own memory; a worker carries tens of them


async def create(
    *,
    partitions: Annotated[
        int | None,
        Parameter(
            help="How many partitions each topic gets; 12, or as many as those that exist.",
            validator=Number(gte=1, lte=PARTITIONS_MAX),
        ),
    ] = None,
    json: Json = False,
    data_dir: DataDir = None,
) -> int:
    """Create the topics that are missing and say what is wrong with those that exist; exit code 1 if anything is."""
    settings = Settings.from_environment(os.environ, data_dir)
    if settings.kafka is None:
        raise UsageError(f"the embedded log needs no topics; for Kafka's, name its servers in {BOOTSTRAP_SERVERS}")
    states = await create_topics(settings.kafka, partitions)
    columns = Columns(("TOPIC", "PARTITIONS", "REPLICAS", "STATE"), right=("PARTITIONS", "REPLICAS"))
    for state in states:
        word = "wrong" if state.wrong else "created" if state.created else "exists"
        if json:
            fields = state._asdict()
            del fields["created"]
            write_json({**fields, "state": word})
        else:
            columns.write([state.name, str(state.partitions), str(state.replicas), word])
    columns.close()
    if not json:
        for state in states:
            for line in state.wrong:
                write_line(f"wrong: {line}")
            for line in state.warnings:
                write_line(f"warning: {line}")
    return int(any(state.wrong for state in states))
