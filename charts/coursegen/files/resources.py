"""Every resource that the release brings is Ready: the operator has seen it as it is now, and has done what it asks for."""

import json
import os
import pathlib
import ssl
import sys
import time
import urllib.error
import urllib.request

ACCOUNT = pathlib.Path(os.environ.get("ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
NAMESPACE = os.environ["NAMESPACE"]
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])


def server():
    """Where the API server is, as every pod is told."""
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    return f"https://{f'[{host}]' if ':' in host else host}:{os.environ['KUBERNETES_SERVICE_PORT']}"


def trust():
    """The cluster's own authority; it may lack what RFC 5280 wants, and Python 3.13 would refuse it for that."""
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def read(resource):
    """A resource, such as databasemigrations/main, as the API server has it."""
    request = urllib.request.Request(f"{server()}/apis/ops.coursegen.dev/v1alpha1/namespaces/{NAMESPACE}/{resource}")
    request.add_unredirected_header("Authorization", f"Bearer {(ACCOUNT / 'token').read_text().strip()}")
    with urllib.request.urlopen(request, timeout=10, context=trust()) as answer:
        return json.load(answer)


def standing(resource):
    """Whether it is Ready, and in a few words how it stands."""
    try:
        found = read(resource)
    except urllib.error.HTTPError as error:
        said = error.read().decode().strip()
        return False, f"{error.code} {json.loads(said)['message'] if said.startswith('{') else said}"
    except OSError as error:
        return False, str(error)
    status = found.get("status", {})
    if status.get("observedGeneration") != found["metadata"]["generation"]:
        return False, "not seen by an operator yet; is the chart coursegen-operator installed, and for this namespace?"
    ready = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {})
    said = ready.get("reason", "no condition Ready")
    return ready.get("status") == "True", said if ready.get(
        "status"
    ) == "True" else f"{said}: {ready.get('message', '')}"


def main():
    waiting, failed = os.environ["RESOURCES"].split(), 0
    while waiting:
        resource = waiting[0]
        ready, said = standing(resource)
        if not ready and time.monotonic() < DEADLINE:
            time.sleep(0.5)
            continue
        waiting.pop(0)
        print(f"  {'pass' if ready else 'FAIL'}  {resource} is Ready ({said})", flush=True)
        if not ready:
            failed += 1
            print(f"        kubectl -n {NAMESPACE} describe {resource.replace('/', ' ')}", flush=True)
    print(f"resources: {'passed' if not failed else f'{failed} are not Ready'}", flush=True)
    sys.exit(1 if failed else 0)


main()
