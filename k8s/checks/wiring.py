"""Names, labels and ports by which the objects of a release find each other: every one of them is valid alone."""

import dataclasses
import json
import pathlib

import yaml

PROBES = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


@dataclasses.dataclass
class Release:
    """The rendered manifests, and what is wrong with them so far."""

    manifests: list[dict]
    found: list[str] = dataclasses.field(default_factory=list)

    def all_of(self, kind: str) -> list[dict]:
        return [manifest for manifest in self.manifests if manifest["kind"] == kind]

    def require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.found.append(otherwise)

    @property
    def set(self) -> dict:
        (workload,) = self.all_of("StatefulSet")
        return workload["spec"]

    @property
    def labels(self) -> dict:
        return self.set["template"]["metadata"]["labels"]

    @property
    def pod(self) -> dict:
        return self.set["template"]["spec"]

    @property
    def container(self) -> dict:
        (container,) = self.pod["containers"]
        return container

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def services(self) -> dict[str, dict]:
        return {service["metadata"]["name"]: service for service in self.all_of("Service")}


def mistakes(root: pathlib.Path, manifests: list[dict]) -> list[str]:
    release = Release(manifests)
    _pods(release)
    _services(release)
    _environment(release)
    _life(release)
    _volumes(release)
    _observability(release, root / "dashboards")
    return release.found


def _pods(release: Release) -> None:
    spec, pod, labels, require = release.set, release.pod, release.labels, release.require
    namespaces = {manifest["metadata"].get("namespace") for manifest in release.manifests}
    require(namespaces == {"air"}, f"namespaces are {namespaces}, not the release's")
    require(spec["selector"]["matchLabels"].items() <= labels.items(), "the set does not select its own pods")
    require(spec["podManagementPolicy"] == "Parallel", "instances would wait for each other")
    require(spec["updateStrategy"] == {"type": "RollingUpdate"}, "no rolling update")
    for constraint in pod.get("topologySpreadConstraints", []):
        require(constraint["labelSelector"]["matchLabels"].items() <= labels.items(), "the spread counts other pods")
    for budget in release.all_of("PodDisruptionBudget"):
        require(budget["spec"]["selector"]["matchLabels"].items() <= labels.items(), "the budget covers no pod")
    accounts = {account["metadata"]["name"] for account in release.all_of("ServiceAccount")} | {"default"}
    require(pod["serviceAccountName"] in accounts, "the service account is not created")
    claims = [claim["metadata"]["labels"] for claim in spec.get("volumeClaimTemplates", [])]
    pinned = [spec["selector"]["matchLabels"], *claims]
    require(all("helm.sh/chart" not in one for one in pinned), "an immutable field holds the chart's version")
    require("helm.sh/chart" not in labels, "a new chart version would restart every pod")


def _services(release: Release) -> None:
    require, services = release.require, release.services
    for name, service in services.items():
        require(service["spec"]["selector"].items() <= release.labels.items(), f"Service {name} selects no pod")
        for port in service["spec"]["ports"]:
            require(port["targetPort"] in release.ports, f"Service {name} leads to {port['targetPort']}, no pod's port")
    name = release.set["serviceName"]
    peers = services.get(name, {}).get("spec", {})
    require(peers.get("clusterIP") == "None", f"{name} is no headless Service")
    require(peers.get("publishNotReadyAddresses") is True, "instances that restore cannot be reached")
    # A name of a headless Service resolves to the pod itself, so its port is the pod's.
    require([port["port"] for port in peers.get("ports", [])] == [release.ports["http"]], f"{name} has another port")
    clients = [name for name, service in services.items() if not service["spec"].get("publishNotReadyAddresses")]
    require(len(clients) == 1, f"there is no one Service for clients, but {clients}")


def _environment(release: Release) -> None:
    require, variables = release.require, release.container["env"]
    names = [variable["name"] for variable in variables]
    env = {variable["name"]: variable.get("value") for variable in variables}
    port = release.ports["http"]
    url = f"http://$(MILLPOND_INSTANCE_ID).{release.set['serviceName']}.air.svc:{port}"
    require(len(names) == len(set(names)), f"variables stand twice: {names}")
    require(env["MILLPOND_ADVERTISED_URL"] == url, f"the advertised URL is not {url}")
    require(names.index("MILLPOND_INSTANCE_ID") < names.index("MILLPOND_ADVERTISED_URL"), "the URL is before its part")
    require(env["MILLPOND_HTTP"] == f"0.0.0.0:{port}", f"does not listen on port {port}")
    require(release.pod["enableServiceLinks"] is False, "Services would put MILLPOND_* into the environment")


def _life(release: Release) -> None:
    container, require = release.container, release.require
    for probe, path in PROBES.items():
        asked = container.get(probe, {}).get("httpGet", {})
        require(asked == {"path": path, "port": "http"}, f"{probe} asks for {asked}, not {path}")
    delay = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    require(release.pod["terminationGracePeriodSeconds"] > delay, "killed before it is told to stop")
    require(container["resources"]["requests"].keys() >= {"cpu", "memory"}, "no CPU or memory requested")


def _volumes(release: Release) -> None:
    require, container = release.require, release.container
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    claims = {claim["metadata"]["name"] for claim in release.set.get("volumeClaimTemplates", [])}
    volumes = {volume["name"] for volume in release.pod.get("volumes", [])}
    state = next(variable["value"] for variable in container["env"] if variable["name"] == "MILLPOND_STATE_DIR")
    require(mounts.keys() == claims | volumes, f"mounts {sorted(mounts)}, has {sorted(claims | volumes)}")
    require(not claims & volumes, f"both claim and volume: {claims & volumes}")
    require(mounts.get("state") == state, "the state is not on its volume")


def _observability(release: Release, dashboards: pathlib.Path) -> None:
    require, services = release.require, release.services
    for monitor in release.all_of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        watched = [name for name, service in services.items() if wanted <= service["metadata"]["labels"].items()]
        require(watched == [release.set["serviceName"]], f"Prometheus watches {watched}: no pod, or each of them twice")
        names = {port["name"] for service in services.values() for port in service["spec"]["ports"]}
        require(all(end["port"] in names for end in monitor["spec"]["endpoints"]), "Prometheus scrapes no port")
    # The chart has these two through links.
    for rule in release.all_of("PrometheusRule"):
        alerts = yaml.safe_load((dashboards / "alerts.yaml").read_text())
        require(rule["spec"] == alerts, "the PrometheusRule is not dashboards/alerts.yaml")
    for config in release.all_of("ConfigMap"):
        board = json.loads((dashboards / "millpond.json").read_text())
        require(json.loads(config["data"]["millpond.json"]) == board, "the ConfigMap is not dashboards/millpond.json")
