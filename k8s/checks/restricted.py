"""The `restricted` Pod Security profile, control by control, and the two things this chart promises beyond it."""

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}  # fmt: skip
SECCOMP = {"RuntimeDefault", "Localhost"}
SELINUX = {None, "", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}  # fmt: skip


def violations(manifests: list[dict]) -> list[str]:
    """What a namespace that enforces the profile would refuse. No pod at all counts as one."""
    pods = [manifest["spec"]["template"] for manifest in manifests if "template" in manifest.get("spec", {})]
    return [problem for pod in pods for problem in _of_pod(pod)] if pods else ["no pod template"]


def _of_pod(template: dict) -> list[str]:
    pod, found = template["spec"], []
    security = pod.get("securityContext", {})

    def require(holds: bool, what: str) -> None:
        if not holds:
            found.append(what)

    for share in ("hostNetwork", "hostPID", "hostIPC"):
        require(not pod.get(share), f"{share} is set")
    for volume in pod.get("volumes", []):
        kinds = volume.keys() - {"name"}
        require(kinds <= VOLUMES, f"volume {volume['name']}: {sorted(kinds - VOLUMES)} is not allowed")
    for sysctl in security.get("sysctls", []):
        require(sysctl["name"] in SYSCTLS, f"sysctl {sysctl['name']} is not allowed")
    for name in template.get("metadata", {}).get("annotations", {}):
        require("apparmor" not in name and "seccomp" not in name, f"annotation {name} changes a profile")
    require(pod.get("automountServiceAccountToken") is False, "the service account's token is mounted")

    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            found += [f"{container['name']}: {problem}" for problem in _of_container(container, security)]
    return found


def _of_container(container: dict, pod: dict) -> list[str]:
    own, found = container.get("securityContext", {}), []
    either = pod | own  # a container's setting wins over its pod's
    capabilities = own.get("capabilities", {})

    def require(holds: bool, what: str) -> None:
        if not holds:
            found.append(what)

    require(not own.get("privileged"), "privileged")
    require(own.get("allowPrivilegeEscalation") is False, "allowPrivilegeEscalation is not false")
    require("ALL" in capabilities.get("drop", []), "capabilities are not all dropped")
    require(set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}, "capabilities are added")
    require(either.get("runAsNonRoot") is True, "runAsNonRoot is not true")
    require(either.get("runAsUser") != 0, "runs as root")
    require(either.get("seccompProfile", {}).get("type") in SECCOMP, "no seccomp profile")
    require(either.get("appArmorProfile", {}).get("type", "RuntimeDefault") in SECCOMP, "no AppArmor profile")
    require(own.get("procMount", "Default") == "Default", "procMount is not the default")
    selinux = either.get("seLinuxOptions", {})
    require(selinux.get("type") in SELINUX and not {"user", "role"} & selinux.keys(), "SELinux options")
    require(not either.get("windowsOptions", {}).get("hostProcess"), "a Windows host process")
    for port in container.get("ports", []):
        require(not port.get("hostPort"), f"port {port.get('name')} is the host's")
    hooks = [container.get(probe, {}) for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    hooks += container.get("lifecycle", {}).values()
    for action in ("httpGet", "tcpSocket"):
        require(not any(hook.get(action, {}).get("host") for hook in hooks), f"{action} names a host")
    require(own.get("readOnlyRootFilesystem") is True, "the root file system can be written")
    return found
