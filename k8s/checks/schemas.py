"""Manifests against the schemas of a Kubernetes version. Strict: a field that the schema does not name is a mistake."""

import pathlib

import jsonschema
import kubernetes_validate
import yaml


def definitions(folder: pathlib.Path) -> dict[tuple[str, str], dict]:
    """Schemas of custom resources, by apiVersion and kind, out of their definitions."""
    found = {}
    for path in folder.glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            for version in spec["versions"]:
                schema = _strict(version["schema"]["openAPIV3Schema"])
                schema["properties"]["metadata"] = {"type": "object"}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def validate(manifests: list[dict], version: str, custom: dict[tuple[str, str], dict]) -> list[str]:
    found = []
    for manifest in manifests:
        kind = manifest["apiVersion"], manifest["kind"]
        try:
            if kind in custom:
                jsonschema.Draft202012Validator(custom[kind]).validate(manifest)
            elif not version.startswith(kubernetes_validate.validate(manifest, version, strict=True)):
                found.append(f"no schemas of Kubernetes {version}")
        except jsonschema.ValidationError as error:
            field = ".".join(map(str, error.absolute_path))
            found.append(f"{kind[1]}/{manifest['metadata']['name']} {field}: {error.message}")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(error.message)
    return found


def _strict(node):
    """Closes every object of a definition that lists its properties, as the API server's strict validation does."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _strict(value) for key, value in node.items()}
    lists = isinstance(node.get("properties"), dict) and node.get("type") == "object"
    if lists and not node.get("x-kubernetes-preserve-unknown-fields"):
        node.setdefault("additionalProperties", False)
    if node.get("x-kubernetes-int-or-string"):
        node.pop("type", None)
    return node
