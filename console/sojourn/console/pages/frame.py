"""What stands above every page: how fresh and complete the lists are, in the reader's words and the tenant's zone."""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sojourn.console.pages.times import Times
from sojourn.console.pages.words import Words
from sojourn.projections.freshness import AHEAD_SECONDS_MIN, STALE_SECONDS, BrokerSigns, Freshness, name

_MISROUTED: Final = timedelta(days=1)  # as long as `sojourn status` speaks of it


class Fresh(NamedTuple):
    """The line: how far the lists are complete, if that is known, and then what else there is to say."""

    complete_to: datetime | None
    is_behind: bool
    parts: Sequence[tuple[str, bool]]  # a text, and whether it is a worry


def fresh_line(fresh: Freshness, times: Times, words: Words) -> Fresh:
    """Return the line."""
    complete_to = fresh.complete_to
    is_behind = complete_to is not None and times.since(complete_to) > STALE_SECONDS
    return Fresh(complete_to, is_behind, list(_parts(fresh, times, words, is_behind=is_behind)))


def _parts(fresh: Freshness, times: Times, words: Words, *, is_behind: bool) -> Iterator[tuple[str, bool]]:
    _ = words.gettext
    if is_behind:
        assert fresh.complete_to is not None
        span = times.rough(times.since(fresh.complete_to))
        yield _("behind by %(span)s: nobody is declared lost meanwhile") % {"span": span}, True
    told = [broker for broker in fresh.brokers if broker.state != "unknown"]
    silent = [broker for broker in told if broker.state == "silent"]
    if told:
        numbers = {"count": len(told) - len(silent), "all": len(told)}
        yield _("%(count)s of %(all)s brokers reporting") % numbers, False
    for broker in silent:
        assert broker.silent_since is not None
        span = times.rough(times.since(broker.silent_since))
        yield _("%(broker)s silent for %(span)s") % {"broker": name(broker.source), "span": span}, True
    yield from _clocks(fresh.brokers, times, words)
    for broker in fresh.brokers:
        if broker.misrouted_at is not None and times.now - broker.misrouted_at < _MISROUTED:
            yield _("heartbeats of %(broker)s come to wrong partitions") % {"broker": name(broker.source)}, True


def _clocks(brokers: Collection[BrokerSigns], times: Times, words: Words) -> Iterator[tuple[str, bool]]:
    for broker in brokers:
        skew = broker.skew_seconds
        if skew is not None and abs(skew) >= AHEAD_SECONDS_MIN:
            text = "clock of %(broker)s %(span)s ahead" if skew > 0 else "clock of %(broker)s %(span)s behind"
            yield words.gettext(text) % {"broker": name(broker.source), "span": times.rough(abs(skew))}, True
