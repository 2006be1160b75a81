"""What the forms about exports say, and what the page says of an export."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final, NamedTuple, get_args

from sojourn.console.http.problems import Problem
from sojourn.console.jobs.asking import MakeOrder, Timing
from sojourn.console.jobs.orders import Order, filter_of, order_of, refused
from sojourn.console.jobs.periods import Every
from sojourn.console.jobs.store import Job
from sojourn.console.output import size
from sojourn.console.pages.ranges import BadChoice, chosen
from sojourn.console.pages.render import AnyRequest, View
from sojourn.console.site.site import Site
from sojourn.exporters.columns import Dataset
from sojourn.exporters.dataset import FileFormat

FORMATS: Final[Mapping[str, tuple[FileFormat, bool | None]]] = {  # and whether CSV is neutralised
    "csv": ("csv", True),
    "csv-raw": ("csv", False),
    "parquet": ("parquet", None),
}
FORMAT_WORDS: Final[Mapping[str, str]] = {
    "csv": "CSV for spreadsheets",
    "csv-raw": "CSV for programs",
    "parquet": "Parquet",
}
DATASET_WORDS: Final[Mapping[str, str]] = {"history": "Historical sessions", "current": "Current sessions"}
STATE_WORDS: Final[Mapping[str, str]] = {
    "queued": "waits",
    "running": "runs",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled",
    "expired": "expired",
}
EVERY_WORDS: Final[Mapping[str, str]] = {"day": "every day", "week": "every week", "month": "every month"}
FILTER_WORDS: Final[Mapping[str, str]] = {
    "search": "Search",
    "user": "User",
    "desktop": "Desktop",
    "terminal": "Terminal",
    "access": "Access",
    "state": "State",
    "broker": "Broker",
    "outcome": "Outcome",
    "reason": "How it ended",
    "from": "From",
    "to": "to",
}

_OWN: Final = ("dataset", "format", "destination")
_TIMING: Final = ("name", "every", "time_of_day")
_RANGE: Final = ("range", "from", "from_time", "to", "to_time")
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")

Form = Mapping[str, str]


class Shown(NamedTuple):
    """An export as its row shows it."""

    job: Job
    what: str
    format: str
    filter: str
    state: str
    fraction: float | None
    as_of: datetime | None
    size: str | None
    download: str | None


async def form_of(request: AnyRequest) -> dict[str, str]:
    """Return the fields that a form filled in; raises the problem that one is there twice, or is a file."""
    found: dict[str, str] = {}
    for name, value in (await request.form()).multi_items():
        if not isinstance(value, str) or name in found:
            raise refused(name, "this field is filled in once, with a text")
        if value.strip():
            found[name] = value.strip()
    return found


def asked_order(form: Form, site: Site, *, dataset: str | None = None) -> MakeOrder:
    """Return what makes the order that a form asks for."""

    def make(zone: tzinfo) -> Order:
        kind = dataset or _one_of(form, "dataset", get_args(Dataset))
        file_format, neutralised = FORMATS[_one_of(form, "format", FORMATS)]
        own = (*_OWN, *(_TIMING if dataset else ()))
        given: dict[str, Any] = {name: value for name, value in form.items() if name not in own}
        if "range" in given or any(_DAY.fullmatch(given.get(name, "")) for name in ("from", "to")):
            given = _with_range(given, zone, site.now())
        listed: Dataset = "current" if kind == "current" else "history"
        filters = filter_of(listed, given, zone)
        return order_of(
            listed, file_format, filters, form.get("destination"), site.destinations, neutralised=neutralised
        )

    return make


def asked_timing(form: Form) -> Timing:
    """Return when a schedule is to run; raises the problem that the form does not say."""
    every: Any = _one_of(form, "every", get_args(Every))
    return Timing(form.get("name", ""), every, form.get("time_of_day", ""))


def field_of(problem: Problem) -> str:
    """Return the field of a form that a problem is about."""
    return problem.detail.partition(":")[0].removeprefix("filter.")


def told(problem: Problem) -> str:
    """Return what a problem says without the name of the field."""
    rest = problem.detail.partition(": ")[2]
    return rest or f"{problem.title}: {problem.detail}"


def shown(job: Job, view: View) -> Shown:
    """Return an export as its row shows it."""
    _ = view.words.gettext
    manifest = None if job.manifest is None else job.written()
    download = None
    if manifest is not None and job.state == "done":
        which = "files/1" if len(manifest.files) == 1 else "archive"
        download = f"/v1/exports/{job.job_id}/{which}?tenant={job.tenant}"
    return Shown(
        job=job,
        what=_(DATASET_WORDS[job.dataset]),
        format=_(FORMAT_WORDS[format_name(job.format, neutralised=job.neutralised)]),
        filter=", ".join(filter_words(job.filter, view)) or _("all of them"),
        state=_(STATE_WORDS[job.state]),
        fraction=job.fraction(),
        as_of=None if manifest is None else manifest.as_of,
        size=None if manifest is None else size(sum(entry.bytes for entry in manifest.files)),
        download=download,
    )


def format_name(file_format: str, *, neutralised: bool) -> str:
    """Return the format as forms call it."""
    return "csv-raw" if file_format == "csv" and not neutralised else file_format


def filter_words(filters: Mapping[str, Any], view: View) -> Iterator[str]:
    """Yield the filters of an export in words."""
    for name in sorted(filters, key=list(FILTER_WORDS).index):
        value = filters[name]
        if name in {"from", "to"}:
            value = view.times.moment(datetime.fromisoformat(value))
        yield f"{view.words.gettext(FILTER_WORDS[name])} {value}"


def _with_range(given: dict[str, Any], zone: tzinfo, now: datetime) -> dict[str, Any]:
    """Put instants in place of the days or the range that a form names; days include the last one."""
    try:
        span = chosen({name: given[name] for name in _RANGE if name in given}, zone, now)
    except BadChoice as error:
        raise refused(f"filter.{error.field}", str(error)) from None
    ends = {"from": span.from_at, "to": span.to_at}
    rest = {name: value for name, value in given.items() if name not in _RANGE}
    return {**rest, **{name: value for name, value in ends.items() if value is not None}}


def _one_of(form: Form, name: str, choices: Any) -> str:
    if form.get(name) not in choices:
        raise refused(name, f"one of {', '.join(choices)}")
    return form[name]
