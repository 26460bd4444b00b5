"""The chart through the real Helm engine, and what it renders against Kubernetes' own schemas and our rules. Installs nothing
anywhere: the cluster is a stand-in on loopback that takes what it is given. Run by `cargo xtask test --containers`.

    python check.py CHART

Nothing here schedules, admits or lets packets through: that is told as not tested in docs/containers.md.
"""

import asyncio
import http.server
import json
import pathlib
import sys
import tempfile
import threading

import helm_sdkpy
import kubernetes_validate
import yaml

VERSIONS = ["1.27", "1.37"]
KINDS = {
    "v1": {"configmaps": "ConfigMap", "secrets": "Secret", "services": "Service"},
    "apps/v1": {"daemonsets": "DaemonSet", "statefulsets": "StatefulSet"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
SENTRIES = {
    "name": "sentries",
    "role": "sentry",
    "controllers": ["https://picket.example.net:7443"],
    "joinSecret": "picket-join",
    "nodeSelector": {"picket/role": "sentry"},
}
SEVERAL = {
    "replicas": 3,
    "database": {"url": "postgres://picket@db/picket", "existingSecret": "picket-database"},
    "ca": {"existingSecret": "picket-ca", "hasPassphrase": True},
}


class Cluster(http.server.BaseHTTPRequestHandler):
    """As much of the API as an installation asks for: what there is, and that whatever is made is made."""

    protocol_version = "HTTP/1.1"

    def answer(self, status, body, kind="application/json"):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        path = self.path.split("?")[0].rstrip("/")
        group = path.removeprefix("/apis/").removeprefix("/api/")
        if path == "/version":
            self.answer(200, {"major": "1", "minor": "32", "gitVersion": "v1.32.4"})
        elif path == "/api":
            self.answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        elif path == "/apis":
            groups = [
                {"name": name.split("/")[0], "versions": [version], "preferredVersion": version}
                for name in KINDS
                if "/" in name
                for version in [{"groupVersion": name, "version": "v1"}]
            ]
            self.answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        elif group in KINDS:
            verbs = ["create", "delete", "get", "list", "patch", "update"]
            resources = [
                {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs}
                for name, kind in KINDS[group].items()
            ]
            listing = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}
            self.answer(200, listing)
        elif path.endswith("/secrets"):
            self.answer(200, {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []})
        else:
            self.answer(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(201, raw, self.headers.get("Content-Type", "application/json"))

    do_PUT = do_PATCH = do_POST

    def log_message(self, *_):
        pass


def rendered(config, chart, values):
    """The objects of an installation with these values."""
    installing = helm_sdkpy.Install(config).run("mesh", str(chart), values=values, wait=False, timeout=10)
    manifest = asyncio.run(installing)["manifest"]
    return [thing for thing in yaml.safe_load_all(manifest) if thing]


def of(things, kind):
    return [thing for thing in things if thing["kind"] == kind]


def must(held, what):
    if not held:
        raise AssertionError(what)


def confined(pod):
    """What no container of ours is, whatever its values."""
    must(pod["automountServiceAccountToken"] is False, "a token of the cluster is in a pod")
    for container in pod.get("initContainers", []) + pod["containers"]:
        rights = container["securityContext"]
        must(rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"], container["name"])
        must(rights["capabilities"]["drop"] == ["ALL"] and not rights.get("privileged"), container["name"])
        must(container["resources"]["limits"]["memory"], container["name"])
        must("JOIN_TOKEN" not in json.dumps([e for e in container.get("env", []) if "value" in e]), "a token in the clear")


def one(things):
    """A single controller on a file."""
    [controller] = of(things, "StatefulSet")
    pod = controller["spec"]["template"]["spec"]
    confined(pod)
    must(pod["securityContext"]["runAsNonRoot"] is True, "the controller may be root")
    must("add" not in pod["containers"][0]["securityContext"]["capabilities"], "the controller has a capability")
    must(len(controller["spec"]["volumeClaimTemplates"]) == 1, "its database has no volume")
    must(not of(things, "PodDisruptionBudget"), "one that may never be disturbed keeps a node from being drained")
    [policy] = of(things, "NetworkPolicy")
    open_to_all = [rule["ports"] for rule in policy["spec"]["ingress"] if "from" not in rule]
    must(open_to_all == [[{"port": "agents"}]], f"open to everybody: {open_to_all}")
    [agents] = [s for s in of(things, "Service") if s["spec"].get("type") == "LoadBalancer"]
    must(agents["spec"]["externalTrafficPolicy"] == "Local", "sources' addresses are lost")


def several(things):
    """Three on a database server, with one CA."""
    [controller] = of(things, "StatefulSet")
    confined(controller["spec"]["template"]["spec"])
    must(controller["spec"]["replicas"] == 3 and "volumeClaimTemplates" not in controller["spec"], "three without volumes")
    must(of(things, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"] == 1, "all may be disturbed at once")
    config = of(things, "ConfigMap")[0]["data"]["controller.toml"]
    for line in ['database = "postgres://picket@db/picket"', 'certificate_file = "/run/picket/ca/ca.pem"', "[policy]"]:
        must(line in config, f"{line} is not in\n{config}")
    mounts = {m["mountPath"] for m in controller["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    must({"/run/picket/ca", "/run/picket/database"} <= mounts, mounts)


def agents(things):
    """Agents alone: on the host's network, with one capability and a folder of the node's."""
    must(not of(things, "StatefulSet"), "there is a controller")
    [agent] = of(things, "DaemonSet")
    pod = agent["spec"]["template"]["spec"]
    confined(pod)
    must(pod["hostNetwork"] is True and pod["nodeSelector"] == {"picket/role": "sentry"}, "on the wrong network or nodes")
    [enroll], [run] = pod["initContainers"], pod["containers"]
    for container in (enroll, run):
        must(container["securityContext"]["capabilities"]["add"] == ["NET_ADMIN"], container["name"])
        must(container["image"] == "registry.example/picket/sentry-agent@sha256:abc", container["image"])
    must({"name": "PICKET_GOLOOP", "value": "http://127.0.0.1:9080"} in run["env"], run["env"])
    must([v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v] == ["/var/lib/picket/agent"], pod["volumes"])
    must(of(things, "ConfigMap")[0]["data"]["guard.toml"] == 'admin = ["203.0.113.0/28"]\n', "the guard's file")


GOOD = {
    "one controller on a file": ({}, one),
    "three controllers": ({"controller": SEVERAL | {"config": "[policy]\nadmin = []\n"}}, several),
    "agents alone": (
        {
            "image": {"registry": "registry.example/picket", "tag": "sha256:abc"},
            "controller": {"enabled": False},
            "agents": [
                SENTRIES
                | {"guard": 'admin = ["203.0.113.0/28"]\n', "settings": {"PICKET_GOLOOP": "http://127.0.0.1:9080"}}
            ],
        },
        agents,
    ),
}
BAD = {
    "several without a database": ({"controller": {"replicas": 2}}, "each would be a mesh of its own"),
    "a word nobody knows": ({"controller": {"replica": 2}}, "replica"),
    "a password in the URL": ({"controller": {"database": {"url": "postgres://picket:secret@db/picket"}}}, "pattern"),
    "agents without nodes": ({"agents": [SENTRIES | {"nodeSelector": {}}]}, "nodeSelector"),
    "a role nobody has": ({"agents": [SENTRIES | {"role": "watcher"}]}, "role"),
    "a controller without TLS": ({"agents": [SENTRIES | {"controllers": ["http://a:7443"]}]}, "https"),
}


def main(chart):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
            "current-context": "c",
        }
        file = pathlib.Path(folder) / "kubeconfig"
        file.write_text(yaml.safe_dump(kubeconfig))
        config = helm_sdkpy.Configuration(namespace="picket", kubeconfig=str(file))
        lint = asyncio.run(helm_sdkpy.Lint(config).run(str(chart)))
        must(not lint.get("Errors") and not lint.get("errors"), lint)
        count = 0
        for name, (values, check) in GOOD.items():
            things = rendered(config, chart, values)
            for thing in things:
                for version in VERSIONS:
                    kubernetes_validate.validate(thing, version, strict=True)
                count += 1
            check(things)
            print(f"ok: {name}: {len(things)} objects")
        for name, (values, expect) in BAD.items():
            try:
                rendered(config, chart, values)
            except helm_sdkpy.HelmError as error:
                must(expect in str(error), f"{name}: {error}")
                print(f"ok: refused: {name}")
            else:
                raise AssertionError(f"{name} is not refused")
        # That the judge judges: a misspelt field is found.
        wrong = of(rendered(config, chart, {}), "StatefulSet")[0]
        wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
        try:
            kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)
        except kubernetes_validate.ValidationError:
            print(f"helm: {count} objects hold, {len(BAD)} wrong values are refused")
        else:
            raise AssertionError("a misspelt field is not found")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
