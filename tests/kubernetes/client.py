"""Drives the Python client library against $KUBECONFIG: list, watch, and exec over WebSocket.

usage: client.py NAMESPACE POD

Each step prints a line `ok STEP`; the first that fails ends it with a traceback.
"""

import sys
import threading

from kubernetes import client, config, watch
from kubernetes.stream import stream

DEADLINE = 30


def main():
    namespace, pod = sys.argv[1:]
    config.load_kube_config()
    api = client.CoreV1Api()
    for step in (list_pods, watch_a_change, exec_with_input, exec_exit_code, follow_a_log):
        step(api, namespace, pod)
        print("ok", step.__name__, flush=True)


def list_pods(api, namespace, pod):
    pods = api.list_namespaced_pod(namespace, limit=500, _request_timeout=DEADLINE)
    assert pod in [item.metadata.name for item in pods.items], pods


def watch_a_change(api, namespace, _pod):
    name = "seen-by-python"
    version = api.list_namespaced_config_map(namespace).metadata.resource_version
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"a": "b"})
    # While the watch is open, so that the event comes over it.
    later = threading.Timer(0.5, api.create_namespaced_config_map, (namespace, body))
    later.start()
    events = watch.Watch().stream(
        api.list_namespaced_config_map,
        namespace,
        resource_version=version,
        timeout_seconds=DEADLINE,
    )
    seen = next((e["type"] for e in events if e["object"].metadata.name == name), None)
    later.join()
    assert seen == "ADDED", seen


def exec_with_input(api, namespace, pod):
    shell = open_exec(api, namespace, pod, ["head", "-n", "2"], stdin=True)
    shell.write_stdin("one\n")
    shell.write_stdin("two\n")
    shell.run_forever(timeout=DEADLINE)
    assert shell.read_stdout() == "one\ntwo\n"
    assert shell.returncode == 0, shell.returncode


def exec_exit_code(api, namespace, pod):
    shell = open_exec(api, namespace, pod, ["sh", "-c", "echo out; echo err >&2; exit 7"])
    shell.run_forever(timeout=DEADLINE)
    assert (shell.read_stdout(), shell.read_stderr()) == ("out\n", "err\n")
    assert shell.returncode == 7, shell.returncode


def follow_a_log(api, namespace, pod):
    lines = watch.Watch().stream(api.read_namespaced_pod_log, pod, namespace, _request_timeout=DEADLINE)
    assert next(iter(lines))


def open_exec(api, namespace, pod, command, stdin=False):
    # Not `api` itself: stream() changes how its client sends requests for good.
    api = client.CoreV1Api(client.ApiClient(api.api_client.configuration))
    return stream(
        api.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        command=command,
        stdin=stdin,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )


if __name__ == "__main__":
    main()
