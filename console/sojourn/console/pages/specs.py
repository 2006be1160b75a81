"""Pictures as Vega-Lite: columns, ranked bars, steps and squares; colours are those of the stylesheet."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Spec = dict[str, Any]

_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v6.json"
_QUIET: Final = "var(--quiet)"
_LINE: Final = "var(--line)"
_ACCENT: Final = "var(--accent)"
_UNSURE: Final = 0.4  # how strong the part is painted that a lost session may have lasted or not
_NUMBER: Final = ",.12~g"  # with thousands set apart, and no more digits than it has
_FIGURE_WIDTH: Final = 7  # pixels of a digit, in the size of labels
_FIGURE_GAP: Final = 8
_BAR_WIDTH_MIN: Final = 12  # of the longest bar, however long the numbers are
_MARK_HEIGHT: Final = 22  # pixels of a label above its point
_EDGE: Final = 0.1  # of the width, within which a label would stand out
_LABEL: Final = "labels[datum.value]"
_CONFIG: Final[Spec] = {
    "aria": False,  # the picture has one name, and its table says the rest
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "mark": {"color": _ACCENT},
    "text": {"color": "var(--ink)", "fontSize": 12},
    "axis": {
        "labelColor": _QUIET,
        "labelFontSize": 12,
        "labelOverlap": "greedy",
        "titleColor": _QUIET,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domainColor": _LINE,
        "gridColor": _LINE,
        "ticks": False,
        "labelPadding": 6,
    },
}


class Size(NamedTuple):
    """How much room a picture has."""

    height: int
    ticks: int
    labels_max: int
    names_width: int
    bars_max: int  # below each other; the table tells of the others
    steps_max: int  # of a course: more are narrower than two pixels


SMALL: Final = Size(height=104, ticks=2, labels_max=3, names_width=84, bars_max=5, steps_max=170)
MEDIUM: Final = Size(height=184, ticks=4, labels_max=8, names_width=120, bars_max=8, steps_max=260)
LARGE: Final = Size(height=280, ticks=5, labels_max=16, names_width=180, bars_max=20, steps_max=400)


class Bar(NamedTuple):
    """One bar: its label at the axis if it has one, and what is said of it on pointing there."""

    key: str
    label: str
    least: float
    most: float
    text: str
    figure: str = ""


class Step(NamedTuple):
    """What a number was between two instants, as seconds since 1970."""

    since: float
    until: float
    least: float
    most: float
    text: str


class Mark(NamedTuple):
    """A point that is named."""

    at: float
    value: float
    label: str


class Square(NamedTuple):
    """A number where a row and a column meet; None for none."""

    row: str
    column: str
    value: float | None
    text: str


def columns(bars: Sequence[Bar], size: Size) -> Spec:
    """Return columns from left to right, in the order given."""
    labelled = _thinned([bar.key for bar in bars if bar.label], size.labels_max)
    x = {
        "field": "key",
        "type": "ordinal",
        "sort": None,
        "title": None,
        "scale": {"paddingInner": 0.2, "paddingOuter": 0.1},
        "axis": {"values": labelled, "labelExpr": _LABEL, "labelAngle": 0, "labelOverlap": True, "labelSeparation": 8},
    }
    return _spec(
        size.height,
        [bar._asdict() for bar in bars],
        [
            {"mark": {"type": "bar", "fillOpacity": _UNSURE}, "encoding": {"x": x, "y": _amount("most", size)}},
            {"mark": "bar", "encoding": {"x": x, "y": _amount("least", size)}},
            {"name": "point", "mark": _pointed(), "encoding": {"x": x, "tooltip": {"field": "text"}}},
        ],
        {bar.key: bar.label for bar in bars},
    )


def ranked(bars: Sequence[Bar], size: Size) -> Spec:
    """Return bars below each other, each with its number behind it."""
    y = {
        "field": "key",
        "type": "nominal",
        "sort": None,
        "title": None,
        "scale": {"paddingInner": 0.35, "paddingOuter": 0.2},
        "axis": {"labelExpr": _LABEL, "labelLimit": size.names_width, "labelColor": "var(--ink)", "domain": False},
    }
    highest = max((bar.most for bar in bars), default=0) or 1
    room = _FIGURE_WIDTH * max(len(bar.figure) for bar in bars) + _FIGURE_GAP
    end = {"expr": f"max({_BAR_WIDTH_MIN}, width - {room})"}
    scale = {"domain": [0, highest], "range": [0, end], "nice": False}
    x = {"type": "quantitative", "title": None, "stack": None, "scale": scale, "axis": None}
    return _spec(
        max(size.height if size is SMALL else 0, 24 * len(bars)),
        [bar._asdict() for bar in bars],
        [
            {"mark": {"type": "bar", "fillOpacity": _UNSURE}, "encoding": {"x": {**x, "field": "most"}, "y": y}},
            {"mark": "bar", "encoding": {"x": {**x, "field": "least"}, "y": y}},
            {
                "mark": {"type": "text", "align": "left", "dx": 6, "color": _QUIET},
                "encoding": {"x": {**x, "field": "most"}, "y": y, "text": {"field": "figure"}},
            },
            {"name": "point", "mark": _pointed(), "encoding": {"y": y, "tooltip": {"field": "text"}}},
        ],
        {bar.key: bar.label for bar in bars},
    )


def steps(course: Sequence[Step], ticks: Mapping[float, str], peak: Mark | None, size: Size) -> Spec:
    """Return how a number rose and fell; `ticks` are the labels along the time."""
    domain = [course[0].since, course[-1].until]
    x: Spec = {
        "field": "since",
        "type": "quantitative",
        "title": None,
        "scale": {"domain": domain, "nice": False, "zero": False},
        "axis": {"values": _thinned(list(ticks), size.labels_max), "labelExpr": _LABEL, "grid": False},
    }
    course = [*course, course[-1]._replace(since=course[-1].until)]  # so that the last step has its breadth
    area = {"type": "area", "interpolate": "step-after"}
    layers: list[Spec] = [
        {"mark": {**area, "fillOpacity": _UNSURE / 2}, "encoding": {"x": x, "y": _amount("most", size)}},
        {"mark": {**area, "fillOpacity": _UNSURE}, "encoding": {"x": x, "y": _amount("least", size)}},
        {
            "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5},
            "encoding": {"x": x, "y": _amount("most", size)},
        },
        {
            "name": "point",
            "mark": _pointed(),
            "encoding": {"x": x, "x2": {"field": "until"}, "tooltip": {"field": "text"}},
        },
    ]
    if peak is not None:
        layers[0]["encoding"]["y"]["scale"] = {"domainMax": peak.value * size.height / (size.height - _MARK_HEIGHT)}
        layers[3:3] = _marked(peak, domain)
    return _spec(
        size.height,
        [step._asdict() for step in course],
        layers,
        {f"{at:.0f}": label for at, label in ticks.items()},
    )


def squares(values: Sequence[Square], columns_labelled: Mapping[str, str], size: Size, row_height: int) -> Spec:
    """Return a table of squares, the stronger the higher; only the columns with a label are named."""
    rows = list(dict.fromkeys(square.row for square in values))
    labelled = _thinned([key for key, label in columns_labelled.items() if label], 3 * size.labels_max)
    x = {
        "field": "column",
        "type": "ordinal",
        "sort": None,
        "title": None,
        "axis": {"values": labelled, "labelExpr": _LABEL, "labelAngle": 0, "labelOverlap": True, "domain": False},
    }
    y = {
        "field": "row",
        "type": "ordinal",
        "sort": None,
        "title": None,
        "axis": {"labelExpr": "names[datum.value]", "labelLimit": size.names_width, "domain": False},
    }
    opacity = {
        "field": "value",
        "type": "quantitative",
        "scale": {"range": [0.04, 1], "domainMin": 0, "nice": False},
        "legend": None,
    }
    spec = _spec(
        row_height * len(rows),
        [square._asdict() for square in values],
        [
            {
                "mark": {"type": "rect", "stroke": "var(--paper)", "strokeWidth": 2},
                "encoding": {"x": x, "y": y, "fillOpacity": opacity, "tooltip": {"field": "text"}},
            }
        ],
        columns_labelled,
    )
    spec["params"].append({"name": "names", "value": {row: row.partition("\n")[0] for row in rows}})
    return spec


def _spec(height: int, values: list[dict[str, Any]], layers: list[Spec], labels: Mapping[str, str]) -> Spec:
    return {
        "$schema": _SCHEMA,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "top": 4, "right": 16, "bottom": 4},  # for labels that stand out on the right
        "params": [{"name": "labels", "value": dict(labels)}],
        "data": {"values": values},
        "layer": layers,
        "config": _CONFIG,
    }


def _amount(field: str, size: Size) -> Spec:
    axis = {"tickCount": size.ticks, "tickMinStep": 1 if size is SMALL else 0, "format": _NUMBER, "domain": False}
    return {"field": field, "type": "quantitative", "title": None, "stack": None, "axis": axis}


def _pointed() -> Spec:
    """Return what a pointer meets: the whole height or breadth, since some bars are low."""
    return {"type": "rect", "color": "var(--ink)", "fillOpacity": 0}


def _marked(peak: Mark, domain: list[float]) -> list[Spec]:
    """Return a point and its label, above what is around it; near an edge it ends or begins at the point."""
    begin, end = domain
    share = (peak.at - begin) / (end - begin)
    align = "left" if share < _EDGE else "right" if share > 1 - _EDGE else "center"
    place: Spec = {
        "data": {"values": [{"since": peak.at, "most": peak.value, "label": peak.label}]},
        "encoding": {
            "x": {"field": "since", "type": "quantitative"},
            "y": {"field": "most", "type": "quantitative"},
        },
    }
    text = {"type": "text", "align": align, "dy": -8, "baseline": "bottom"}
    return [
        {**place, "mark": {"type": "point", "filled": True, "opacity": 1, "size": 40}},
        {**place, "mark": text, "encoding": {**place["encoding"], "text": {"field": "label"}}},
    ]


def _thinned(keys: list[Any], labels_max: int) -> list[Any]:
    """Return every so many of the keys, so that their labels find room."""
    return keys[:: -(-len(keys) // labels_max)] if keys else keys
