#!/usr/bin/env bash
# A cluster to try coursegen on: `make cluster-up`, `make deploy`, `make cluster-down`.
#
#   scripts/cluster.sh up        a kind cluster from deploy/kind.yaml
#   scripts/cluster.sh deploy    build the images, bring them to the cluster, install or upgrade the chart, wait for it
#   scripts/cluster.sh down      delete the kind cluster
#
# Where KUBECONFIG names a cluster, that one is used: `up` makes nothing, and `down` uninstalls the release and nothing else.
#
#   NAMESPACE, RELEASE     where the chart goes (default: coursegen, coursegen)
#   VALUES                 files of values (default: charts/coursegen/ci/dev-values.yaml: PostgreSQL and Redis come along)
#   HELM_FLAGS             further arguments of `helm upgrade --install`
#   PYTHON_IMAGE, BUILDER  as for scripts/build-images.sh
#   IMAGE_PREFIX           before the images' names, with a registry (default: IMAGE_REGISTRY/coursegen-, or localhost/coursegen-)
#   IMAGE_TAG              default: tree-… by what the images are made of, so that another tree is another tag
#   IMAGE_REGISTRY         a registry that the cluster pulls from: the images are pushed there
#   LOAD_IMAGES            a command that brings the images which it is given by name into the cluster
#   WAIT_SECONDS           how long the pods may take (default: 600)
#   KIND_CLUSTER_NAME, KIND_IMAGE   kind's own name of the cluster (default: coursegen), and another image of its nodes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/builder.sh

namespace=${NAMESPACE:-coursegen}
release=${RELEASE:-coursegen}
export KIND_CLUSTER_NAME=${KIND_CLUSTER_NAME:-coursegen}
python=python3
[ ! -x .venv/bin/python ] || python=.venv/bin/python

die() { # SENTENCE...: what is wrong, and the next command
    printf '%s\n' "$@" >&2
    exit 1
}

program() { # NAME: its path, of the PATH or built
    command -v "$1" || "$python" scripts/tools.py "$1"
}

kind_of_the_image() { # deploy/kind.yaml names a node image of one version of kind, which another may not start; KIND_IMAGE is yours
    if [ -n "${KIND_IMAGE:-}" ]; then program kind; else "$python" scripts/tools.py kind; fi
}

own_cluster() { [ -n "${KUBECONFIG:-}" ]; } # the caller's

need_engine() {
    docker info >/dev/null 2>&1 || podman info >/dev/null 2>&1 || die \
        "kind needs a Docker engine, and none answers here. Start it and run this again," \
        "or use a cluster that there is: export KUBECONFIG=/path/to/its/kubeconfig; make deploy"
}

has_kind_cluster() { "$kind" get clusters 2>/dev/null | grep -qx -- "$KIND_CLUSTER_NAME"; }

on_cluster() { "$kubectl" "${context[@]}" "$@"; }

up() {
    if own_cluster; then
        kubectl=$(program kubectl)
        echo "KUBECONFIG names a cluster: $("$kubectl" config view --minify -o 'jsonpath={.clusters[0].cluster.server}')"
        echo "It is used as it is, and nothing was made. Next: make deploy"
        return
    fi
    need_engine
    kind=$(kind_of_the_image)
    if has_kind_cluster; then
        echo "The kind cluster $KIND_CLUSTER_NAME is there already. Next: make deploy"
        return
    fi
    local image=()
    [ -z "${KIND_IMAGE:-}" ] || image=(--image "$KIND_IMAGE")
    "$kind" create cluster --name "$KIND_CLUSTER_NAME" --config deploy/kind.yaml "${image[@]}" --wait 300s
    echo "Next: make deploy"
}

find_cluster() { # sets kubectl, context (their arguments) and kind (empty unless the cluster is kind's)
    kubectl=$(program kubectl)
    kind=""
    context=()
    if own_cluster; then
        case $("$kubectl" config current-context 2>/dev/null) in
        kind-*) kind=$(program kind) KIND_CLUSTER_NAME=$("$kubectl" config current-context | sed 's/^kind-//') ;;
        esac
    else
        need_engine
        kind=$(program kind)
        has_kind_cluster || die "There is no kind cluster $KIND_CLUSTER_NAME. Make it first: make cluster-up" \
            "or name another cluster: export KUBECONFIG=/path/to/its/kubeconfig"
        context=(--context "kind-$KIND_CLUSTER_NAME")
    fi
    on_cluster get --raw /readyz --request-timeout=10s >/dev/null 2>&1 ||
        die "The cluster does not answer. See why: kubectl ${context[*]} cluster-info"
}

tag_of_tree() { # the same files and the same base image give the same tag
    {
        echo "${PYTHON_IMAGE:-}"
        find Dockerfile LICENSE README.md migrations operators pyproject.toml requirements scripts/install-process services \
            -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-12
}

name_images() { # sets IMAGE_PREFIX, IMAGE_TAG and images
    local default=localhost/coursegen-
    [ -z "${IMAGE_REGISTRY:-}" ] || default=${IMAGE_REGISTRY%/}/coursegen-
    export IMAGE_PREFIX=${IMAGE_PREFIX:-$default}
    export IMAGE_TAG=${IMAGE_TAG:-tree-$(tag_of_tree)}
    case $IMAGE_PREFIX in
    */*) ;;
    *) die "IMAGE_PREFIX=$IMAGE_PREFIX names no registry. Set it anew: IMAGE_PREFIX=registry.example.org/team/coursegen-" ;;
    esac
    mapfile -t images < <(image_names)
}

can_bring_images() {
    [ -n "${LOAD_IMAGES:-}${IMAGE_REGISTRY:-}$kind" ] || die \
        "The cluster is not kind's, and nothing says how it gets the images. Set one of these and run this again:" \
        "  IMAGE_REGISTRY=registry.example.org/team   a registry that it pulls from; the images are pushed there" \
        "  LOAD_IMAGES='minikube image load'          a command that brings images into it by name"
}

bring_images() {
    if [ -n "${LOAD_IMAGES:-}" ]; then
        $LOAD_IMAGES "${images[@]}"
    elif [ -n "${IMAGE_REGISTRY:-}" ]; then
        scripts/image.sh push "${images[@]}"
    else
        local image archive
        archive=$(mktemp)
        for image in "${images[@]}"; do
            scripts/image.sh save "$image" "$archive"
            "$kind" load image-archive "$archive" --name "$KIND_CLUSTER_NAME"
        done
        rm -f "$archive"
    fi
}

install_chart() {
    local arguments=() file flags files
    read -ra files <<<"${VALUES:-charts/coursegen/ci/dev-values.yaml}"
    own_cluster || files+=(deploy/kind-values.yaml)
    for file in "${files[@]}"; do arguments+=(-f "$file"); done
    read -ra flags <<<"${HELM_FLAGS:-}"
    [ ${#context[@]} -eq 0 ] || arguments+=(--kube-context "${context[1]}")
    "$helm" upgrade --install "$release" charts/coursegen --namespace "$namespace" --create-namespace "${arguments[@]}" \
        --set-string "image.registry=${IMAGE_PREFIX%%/*},image.repositoryPrefix=${IMAGE_PREFIX#*/},image.tag=$IMAGE_TAG" "${flags[@]}" >/dev/null
}

not_ready() { # what there is, and the next command
    on_cluster -n "$namespace" get pods -l "app.kubernetes.io/instance=$release" >&2 || true
    die "Not all is ready. See why: kubectl ${context[*]} -n $namespace describe pods -l app.kubernetes.io/instance=$release"
}

failed_job() { # SELECTOR: one that Kubernetes has given up; nothing when there is none
    on_cluster -n "$namespace" get job -l "$1" \
        -o 'jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Failed")].status}{"\n"}{end}' | sed -n 's/ True$//p' | head -1
}

await_migration() { # of the release's own Job: that it is done, or why it has failed
    local jobs="app.kubernetes.io/instance=$release,app.kubernetes.io/managed-by=Helm" end=$((SECONDS + ${WAIT_SECONDS:-600})) failed
    [ -n "$(on_cluster -n "$namespace" get job -l "$jobs" -o name)" ] || return 0
    until on_cluster -n "$namespace" wait job -l "$jobs" --for=condition=Complete --timeout=3s 2>/dev/null; do
        failed=$(failed_job "$jobs" || true)
        if [ -n "$failed" ]; then
            on_cluster -n "$namespace" logs "job/$failed" --tail=30 >&2 || true
            die "The migration has failed: kubectl ${context[*]} -n $namespace logs job/$failed" \
                "Mend what it says, and have it run anew: HELM_FLAGS='--set-string migrations.rerun=$(date +%s)' make deploy"
        fi
        [ "$SECONDS" -lt "$end" ] || not_ready
        sleep 1 # a server that does not answer is not asked without a pause
    done
}

await_deployments() {
    on_cluster -n "$namespace" wait deployment -l "app.kubernetes.io/instance=$release" --for=condition=Available --timeout="${WAIT_SECONDS:-600}s" || not_ready
}

say_how_to_reach_it() {
    local service with=""
    service=$(on_cluster -n "$namespace" get service -l "app.kubernetes.io/instance=$release,app.kubernetes.io/component=api" -o name)
    [ ${#context[@]} -eq 0 ] || with=" ${context[*]}"
    echo
    echo "coursegen is ready in the namespace $namespace. The api:"
    if ! own_cluster; then
        echo "  http://localhost:3080/docs"
    else
        echo "  kubectl$with -n $namespace port-forward $service 3000:3000     # then http://localhost:3000/docs"
    fi
    echo "Try it:"
    echo "  helm test $release -n $namespace${with:+ --kube-context ${context[1]}} --logs"
}

deploy() {
    local helm
    find_cluster
    can_bring_images
    helm=$(program helm)
    find_builder >/dev/null
    name_images
    scripts/build-images.sh
    bring_images
    install_chart
    await_migration
    await_deployments
    say_how_to_reach_it
}

down() {
    if own_cluster; then
        local helm
        helm=$(program helm)
        "$helm" uninstall "$release" --namespace "$namespace" --ignore-not-found
        echo "The cluster and the namespace $namespace stay. To delete what is left in it: kubectl delete namespace $namespace"
        return
    fi
    need_engine
    kind=$(program kind)
    if ! has_kind_cluster; then
        echo "There is no kind cluster $KIND_CLUSTER_NAME; nothing to delete."
        return
    fi
    "$kind" delete cluster --name "$KIND_CLUSTER_NAME"
}

case ${1:-} in
up | deploy | down) "$1" ;;
*) echo "usage: scripts/cluster.sh up | deploy | down" >&2; exit 2 ;;
esac
