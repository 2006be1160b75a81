"""The list can be believed: a morning of injected time in which everything goes wrong, held against the truth."""

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from bench.believe import HOUR, KILLED, MINUTE, Halt, Scenario, Verdict, rehearse
from sojourn.consumers.sweep import TIMEOUT_SECONDS
from sojourn.events.embedded.database import Database
from sojourn.events.simulator.faults import Faults, Outage
from sojourn.events.simulator.plan import plan_simulation

START: Final = datetime(2026, 11, 24, 7, tzinfo=UTC)  # the offices open
STOP: Final = START + 5 * HOUR
LOG_AWAY: Final = Halt(START + 3.5 * HOUR, START + 3.5 * HOUR + 6 * MINUTE, kills=False)  # for the brokers as well
SESSIONS: Final = 2000  # of the week that is planned, a fifth of them today


def scenario() -> Scenario:
    plan = plan_simulation(5, SESSIONS, STOP)
    first, second, third = plan.world.brokers[:3]
    return Scenario(
        plan,
        START,
        STOP,
        Faults(
            "believe",
            missing_end_share=0.15,
            dropped_beat_share=0.02,
            delayed_share=0.05,
            hushed_share=0.15,
            skews={first: HOUR, second: -HOUR},
            outages=(
                Outage(third, START + 2 * HOUR, START + 2 * HOUR + 10 * MINUTE, spooled=True),
                Outage(second, START + 2.5 * HOUR, START + 2.7 * HOUR),
                *(Outage(broker, LOG_AWAY.start, LOG_AWAY.stop, spooled=True) for broker in plan.world.brokers),
            ),
        ),
        (
            Halt(START + 1.5 * HOUR, START + 1.5 * HOUR + 5 * MINUTE, kills=False),
            Halt(START + 2.05 * HOUR, START + 2.05 * HOUR + KILLED, kills=True),
            Halt(START + 3 * HOUR, START + 3 * HOUR + KILLED, kills=True),
            LOG_AWAY,
        ),
        flush_every=timedelta(minutes=2),
    )


@pytest.fixture
async def verdict(migrated_database: Database) -> Verdict:
    return await rehearse(migrated_database, scenario())


async def test_nobody_is_lost_whose_beats_came_and_nobody_stays_who_is_gone(verdict: Verdict) -> None:
    assert verdict.false_lost == []
    assert verdict.muted == []
    assert verdict.ghosts == []
    assert verdict.differences == []
    assert max(verdict.delays) <= TIMEOUT_SECONDS + 2
    enough = {"recovered": 5, "stayed_lost": 5, "end_found": 1, "reopened": 1}
    assert {cause: verdict.causes[cause] for cause in enough if verdict.causes[cause] < enough[cause]} == {}
    assert verdict.unheard >= 5, "sessions that were alive and could not be heard"
