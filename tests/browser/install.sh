#!/usr/bin/env bash
# Debian's Chromium for the tests of the report in a browser, where no browser is found and this is root on Debian.
# Anywhere else the tests are skipped and say so.
set -euo pipefail

if command -v chromium > /dev/null || [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm "$log"' EXIT
echo "Installing chromium"
{ apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; } > "$log" 2>&1 ||
    { tail -n 20 "$log"; echo "the tests in a browser are skipped"; }
