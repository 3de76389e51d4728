"""The chart and its values."""

import json
import pathlib
import re
import tempfile

import yaml

from .command import output, problems

REFUSED = {
    "a misspelt value": {"replica": 3},
    "a misspelt value, deep down": {"state": {"sizee": "1Gi"}},
    "a variable that it sets itself": {"extraEnv": [{"name": "MILLPOND_BOOTSTRAP", "value": "other:9092"}]},
    "root": {"pod": {"userId": 0}},
    "a volume of the host": {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]},
    "a privileged port": {"http": {"port": 80}},
    "brokers without a port": {"bootstrap": "kafka"},
    "an application id that Kafka would refuse": {"applicationId": "my flights"},
    "no time to stop": {"shutdown": {"graceSeconds": 0}},
}
"""Values that the chart's schema must not let through."""


class _StrictLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice in a map, as Kubernetes does."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"twice in one map: {sorted(twice)}", node.start_mark)
        return super().construct_mapping(node, deep)


def folder(root: pathlib.Path) -> pathlib.Path:
    return root / "k8s" / "millpond"


def values_files(root: pathlib.Path) -> list[pathlib.Path]:
    """The defaults, and the sets under ci/."""
    return [folder(root) / "values.yaml", *sorted((folder(root) / "ci").glob("*-values.yaml"))]


def lint(root: pathlib.Path, values: pathlib.Path) -> list[str]:
    return problems("helm", "lint", "--strict", "--quiet", folder(root), "--values", values)


def render(root: pathlib.Path, values: pathlib.Path, version: str) -> list[dict]:
    """The manifests, as release `flights` in namespace `air` on that Kubernetes would get them."""
    release = ("flights", folder(root), "--namespace", "air")
    text = output("helm", "template", *release, "--values", values, "--kube-version", version)
    return [manifest for manifest in yaml.load_all(text, Loader=_StrictLoader) if manifest]


def accepted(root: pathlib.Path, values: dict) -> list[str]:
    """Renders with values that must be refused by the schema."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        said = problems("helm", "template", "flights", folder(root), "--values", file.name)
    if not said:
        return [f"accepted {values}"]
    return [] if "values don't meet the specifications of the schema" in said[0] else said


def undocumented(root: pathlib.Path) -> list[str]:
    """Values that the schema does not name, and values that the README's table leaves out, or has in excess."""
    schema = json.loads((folder(root) / "values.schema.json").read_text())
    values = yaml.safe_load((folder(root) / "values.yaml").read_text())
    table = set(re.findall(r"^\| `([\w.]+)` \|", (folder(root) / "README.md").read_text(), re.MULTILINE))
    found = []

    def definition(node: dict) -> dict:
        return schema["definitions"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node

    def walk(path: str, value, node: dict) -> None:
        node = definition(node)
        if isinstance(value, dict) and "properties" in node:
            for key, below in value.items():
                if key not in node["properties"]:
                    found.append(f"{path}{key}: not in values.schema.json")
                else:
                    walk(f"{path}{key}.", below, node["properties"][key])
            for key in node["properties"].keys() - value.keys() - {"global"}:
                found.append(f"{path}{key}: in values.schema.json, not in values.yaml")
            return
        name = path.removesuffix(".")
        # A probe's three numbers, say, may stand in one row.
        rows = {name, name.rsplit(".", 1)[0]}
        if not rows & table:
            found.append(f"{name}: not in README.md")
        covered.update(rows & table)

    covered: set[str] = set()
    walk("", values, schema)
    return found + [f"{name}: in README.md, not in values.yaml" for name in sorted(table - covered)]
