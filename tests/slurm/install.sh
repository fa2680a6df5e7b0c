#!/usr/bin/env bash
# Debian's packages for the tests on SLURM, where their programs are missing and this is root on Debian.
# Anywhere else the tests are skipped and say what they lack; those with an accounting database also where apt fails.
set -euo pipefail

if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm "$log"' EXIT

install() { # PROGRAM PACKAGE...
    command -v "$1" > /dev/null && return
    echo "Installing ${*:2}"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${@:2}"; } > "$log" 2>&1 || { tail -n 20 "$log"; return 1; }
}

install slurmctld slurm-wlm munge
{ install slurmdbd slurmdbd && install mariadbd mariadb-server; } || echo "the tests with an accounting database are skipped"
