#!/usr/bin/env bash
# Put Debian's promtool and prometheus into FOLDER, for the tests of alerts and dashboards: scripts/promtool.sh FOLDER
#
# The package is unpacked, not installed: installing it would start a Prometheus on port 9090, where coursegen's metrics belong.
set -euo pipefail
folder=${1:?FOLDER, where promtool and prometheus are to be}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -qq prometheus >/dev/null 2>&1; then # no lists yet
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    "${as_root[@]}" apt-get update -qq
    apt-get download -qq prometheus >/dev/null 2>&1
fi
dpkg --extract prometheus_*.deb package
install -m 0755 package/usr/bin/promtool package/usr/bin/prometheus "$folder"
