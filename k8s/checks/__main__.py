"""All checks, from the chart's values to the words of the alerts. Called by k8s/check, which brings the tools."""

import pathlib
import sys

from . import chart, dashboard, image, restricted, rules, schemas, wiring
from .report import Report

OLDEST, NEWEST = "1.30.0", "1.37.0"
"""The Kubernetes versions between which the chart must be accepted."""

root = pathlib.Path(__file__).parents[2]
definitions = schemas.definitions(pathlib.Path(sys.argv[1]))
report = Report()

for values in chart.values_files(root):
    name = values.stem
    report.check(f"{name}: helm lint", lambda: chart.lint(root, values))
    for version in (OLDEST, NEWEST):
        report.check(
            f"{name}: Kubernetes {version} knows every field",
            lambda: schemas.validate(chart.render(root, values, version), version, definitions),
        )
    report.check(f"{name}: restricted profile", lambda: restricted.violations(chart.render(root, values, NEWEST)))
    report.check(f"{name}: the objects fit together", lambda: wiring.mistakes(root, chart.render(root, values, NEWEST)))
report.check("chart: schema, defaults and README name the same values", lambda: chart.undocumented(root))
for what, bad in chart.REFUSED.items():
    report.check(f"chart: refuses {what}", lambda: chart.accepted(root, bad))

report.check("image: Dockerfile lint", lambda: image.lint(root))

report.check("alerts: promtool check rules", lambda: rules.syntax(root))
report.check("alerts: promtool test rules", lambda: rules.tests(root))
report.check("alerts: each is seen firing, and quiet", lambda: rules.untested(root))
report.check("alerts: each says what it means and what to do", lambda: rules.unexplained(root))

report.check("dashboard: panels are whole and do not overlap", lambda: dashboard.malformed(root))
report.check("dashboard, alerts: every metric is a known one", lambda: dashboard.unknown_metrics(root))
report.check("dashboard, alerts: what one says of the other exists", lambda: rules.dangling(root))
report.check("dashboard: every query has an answer", lambda: dashboard.unanswered(root))

sys.exit(report.close())
