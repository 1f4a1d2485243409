#!/usr/bin/env bash
# What skaffold.yaml calls to test an image: scripts/skaffold-test.sh TARGET. The unit tests of its process that are done in seconds;
# what takes longer `make test` runs.
set -euo pipefail
cd "${TEST_CONTEXT:-$(dirname "${BASH_SOURCE[0]}")/..}"

long=()
case ${1:-} in
api) package=services/api long=(test_document_types.py test_openapi.py test_pdf_encryption.py test_strict_json.py) ;;
outbox-relay) package=services/outbox_relay ;;
stage-worker) package=services/stage_worker long=(engines parsing) ;;
persistence-worker) package=services/persistence_worker ;;
migrate) package=services/migrate ;;
operator)
    package=operators/coursegen_operator
    long=(alerts migrations/test_properties.py migrations/test_spending.py retention/test_properties.py retention/test_schedule.py)
    ;;
*)
    echo "usage: scripts/skaffold-test.sh api | outbox-relay | stage-worker | persistence-worker | migrate | operator" >&2
    exit 2
    ;;
esac
tests=tests/unit/$package
scripts/environment dev
exec .venv/bin/python -m pytest -q -p no:cacheprovider "$tests" "${long[@]/#/--ignore=$tests/}"
