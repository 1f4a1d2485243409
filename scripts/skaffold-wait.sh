#!/usr/bin/env bash
# What skaffold.yaml calls when everything is installed, with the profile `operator`: returns when the operator's resources are Ready.
# skaffold's own check knows Deployments, and nothing of those.
#
# skaffold says where:
#   SKAFFOLD_KUBE_CONTEXT  the cluster
#   SKAFFOLD_NAMESPACES    what it has installed into, comma-separated
set -euo pipefail

for namespace in ${SKAFFOLD_NAMESPACES//,/ }; do
    if ! kubectl --context "$SKAFFOLD_KUBE_CONTEXT" -n "$namespace" wait coursegen --all --for=condition=Ready --timeout=10m; then
        echo "Not all resources are Ready. Their messages say what to do: kubectl -n $namespace get coursegen; kubectl -n $namespace describe dbm" >&2
        exit 1
    fi
done
