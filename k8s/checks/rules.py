"""The alerts: that they can be evaluated, that they fire when they should, and that they help whom they wake."""

import pathlib
import re

import yaml

from . import dashboard
from .command import problems

ANNOTATIONS = {"summary", "description", "runbook"}
SEVERITIES = {"critical", "warning"}


def alerts(root: pathlib.Path) -> list[dict]:
    groups = yaml.safe_load((root / "dashboards" / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def syntax(root: pathlib.Path) -> list[str]:
    return problems("promtool", "check", "rules", root / "dashboards" / "alerts.yaml")


def tests(root: pathlib.Path) -> list[str]:
    return problems("promtool", "test", "rules", root / "dashboards" / "alerts.test.yaml")


def unexplained(root: pathlib.Path) -> list[str]:
    """Alerts without their texts, or whose texts use a label that the alert does not have."""
    found = []
    fired = _fired(root)
    for alert in alerts(root):
        name, texts = alert["alert"], alert.get("annotations", {})
        if texts.keys() != ANNOTATIONS or not all(texts.values()):
            found.append(f"{name}: has {sorted(texts)}, wants {sorted(ANNOTATIONS)}")
        if alert.get("labels", {}).get("severity") not in SEVERITIES:
            found.append(f"{name}: severity is none of {sorted(SEVERITIES)}")
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(texts.values())))
        missing = used - fired.get(name, used)
        if missing:
            found.append(f"{name}: its texts use {sorted(missing)}, which it does not have when it fires")
    return found


def untested(root: pathlib.Path) -> list[str]:
    """Alerts that no test sees firing. Every test also sees a quiet minute, so that none fires always."""
    found = [f"{alert['alert']}: fires in no test" for alert in alerts(root) if alert["alert"] not in _fired(root)]
    for test in _tests(root):
        if not any(question["exp_samples"] == [] for question in test["promql_expr_test"]):
            found.append(f"test '{test['name']}': has no quiet minute")
    return found


def dangling(root: pathlib.Path) -> list[str]:
    """Panels ("Like this") and alerts that a text names and that do not exist, in both directions."""
    names = {alert["alert"] for alert in alerts(root)}
    board = dashboard.load(root)
    titles = {panel["title"] for panel in dashboard.panels(board)}
    texts = {alert["alert"]: " ".join(alert["annotations"].values()) for alert in alerts(root)}
    texts |= {panel["title"]: panel.get("description", "") for panel in dashboard.panels(board)}
    found = []
    for where, text in texts.items():
        found += [f"{where}: no alert {name}" for name in re.findall(r"\bMillpond\w+", text) if name not in names]
        found += [f'{where}: no panel "{title}"' for title in re.findall(r'"([^"]+)"', text) if title not in titles]
    return found


def _tests(root: pathlib.Path) -> list[dict]:
    return yaml.safe_load((root / "dashboards" / "alerts.test.yaml").read_text())["tests"]


def _fired(root: pathlib.Path) -> dict[str, set[str]]:
    """Alerts that some test expects to fire, with the labels they have then."""
    found = {}
    for test in _tests(root):
        for question in test["promql_expr_test"]:
            for sample in question["exp_samples"]:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', sample["labels"]))
                found.setdefault(labels["alertname"], set()).update(labels)
    return found
