"""The Grafana dashboard, without a Grafana: its shape, its metrics, and whether each query has an answer."""

import json
import pathlib
import re
import tempfile

import yaml

from .command import problems

BUILT_IN = {"__rate_interval": "1m", "__interval": "15s", "__range": "20m"}
"""Grafana's own variables."""


def load(root: pathlib.Path) -> dict:
    return json.loads((root / "dashboards" / "millpond.json").read_text())


def panels(board: dict) -> list[dict]:
    """All panels but the rows that head them."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def malformed(root: pathlib.Path) -> list[str]:
    board, found = load(root), []
    ids = [panel["id"] for panel in board["panels"]]
    titles = [panel["title"] for panel in panels(board)]
    found += [f"id {one} stands twice" for one in {one for one in ids if ids.count(one) > 1}]
    found += [f"title {one} stands twice" for one in {one for one in titles if titles.count(one) > 1}]
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        title, place = panel["title"], panel["gridPos"]
        if place["x"] + place["w"] > 24:
            found.append(f"{title}: wider than the dashboard")
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                if taken.setdefault((x, y), title) != title:
                    found.append(f"{title}: lies over {taken[x, y]} at {x}, {y}")
    variables = {variable["name"] for variable in board["templating"]["list"]} | BUILT_IN.keys()
    for panel in panels(board):
        title = panel["title"]
        found += [f"{title}: no {field}" for field in ("description", "targets") if not panel.get(field)]
        if not panel["fieldConfig"]["defaults"].get("unit"):
            found.append(f"{title}: no unit")
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        if any(source != {"type": "prometheus", "uid": "${datasource}"} for source in sources):
            found.append(f"{title}: asks another data source than the chosen one")
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__all"}
    return found + [f"no variable {name}" for name in sorted(used - variables)]


def unknown_metrics(root: pathlib.Path) -> list[str]:
    """Metrics that the dashboard or the alerts use and that example-series.yaml, the list of all, does not have."""
    known = _metrics("\n".join(one["series"] for one in _series(root)))
    used = {file: _metrics((root / "dashboards" / file).read_text()) for file in ("millpond.json", "alerts.yaml")}
    return [f"{file}: {name}" for file, names in used.items() for name in sorted(names - known)]


def unanswered(root: pathlib.Path) -> list[str]:
    """Queries that fail, or that have no number to show, when the example series are what Prometheus holds."""
    board = load(root)
    asked = {}
    for panel in panels(board):
        for target in panel["targets"]:
            asked[_fill(target["expr"])] = f"{panel['title']}, {target['refId']}"
    for annotation in board["annotations"]["list"]:
        asked[_fill(annotation["expr"])] = f"annotation {annotation['name']}"
    # Half-way, where counters move. Not a number is no answer either, hence the comparison.
    questions = {f"count(({expr}) > -Inf) > bool 0": where for expr, where in asked.items()}
    test = {
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": _series(root),
                "promql_expr_test": [
                    {"expr": expr, "eval_time": "10m15s", "exp_samples": [{"labels": "{}", "value": 1}]}
                    for expr in questions
                ],
            }
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(test, file, width=10_000)
        file.flush()
        said = problems("promtool", "test", "rules", file.name)
    if not said:
        return []
    return [where for expr, where in questions.items() if json.dumps(expr) in said[0]] or said


def _series(root: pathlib.Path) -> list[dict]:
    return yaml.safe_load((root / "dashboards" / "example-series.yaml").read_text())


def _metrics(text: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bmillpond_[a-z0-9_]+", text)}


def _fill(expr: str) -> str:
    """A query as Grafana sends it with all instances of all applications chosen."""
    return re.sub(r"\$\{?(\w+)\}?", lambda name: BUILT_IN.get(name[1], ".*"), expr)
