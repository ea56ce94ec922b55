#!/bin/bash
# Set up everything but the guest kernel: Debian's packages, and the Python environment in .venv.
# Packages named as arguments are installed as well.
#
# It does only what is not done yet: with the packages there it needs no root, and with nothing to do
# it takes a moment. The Makefile and the Vagrantfile both call it.

set -euo pipefail
cd "$(dirname "$0")"

packages=(
    python3 python3-venv ca-certificates                    # what ours runs on
    bird2 frr stayrtr nginx unbound nsd                     # what the roles start
    iproute2 util-linux                                     # setarch, taskset, and ip for people
    iputils-ping iperf tcpdump                              # what people type in the shell
    gcc libc6-dev make flex bison bc tar xz-utils           # what the guest kernel is built with
    linux-source-6.12                                       # and from
    graphviz                                                # what draws networks
    tshark ethtool                                          # the judges in the tests
    "$@"
)
services=(bird frr stayrtr nginx unbound nsd)

fail() { # step, what to do
    echo "setup: step $1 failed; $2" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail packages "there is no sudo here; as root: apt-get install ${missing[*]}"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y "$@"
}

missing=()
if command -v dpkg-query >/dev/null; then
    for package in "${packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
else
    echo "setup: not Debian; 'testbed doctor' will say what is missing"
fi

install_packages() {
    echo "setup: installing ${missing[*]}"
    # The daemons run in guests only: the host's own copies are neither started now nor at boot.
    local policy=/usr/sbin/policy-rc.d ours=false new=() service
    for service in "${services[@]}"; do
        command -v "$service" >/dev/null || [ -x "/usr/sbin/$service" ] || new+=("$service")
    done
    if [ ! -e "$policy" ]; then
        ours=true
        # shellcheck disable=SC2064 # the name is known now
        trap "as_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    fi
    for package in "${missing[@]}"; do
        [ -n "$(apt-cache show "$package" 2>/dev/null)" ] && continue
        apt update || fail "packages (apt-get update)" "check the network and /etc/apt/sources.list*, then start again"
        break
    done
    # A list fetched long ago names packages that are no longer there: once more with a new one.
    local install=(install --no-install-recommends "${missing[@]}")
    apt "${install[@]}" || { apt update && apt "${install[@]}"; } ||
        fail "packages (apt-get install)" "see apt's message above; linux-source-6.12 is in bookworm-security. Then start again"
    if $ours; then
        as_root rm -f "$policy"
        trap - EXIT
    fi
    if command -v systemctl >/dev/null && [ "${#new[@]}" -gt 0 ]; then
        as_root systemctl --quiet disable "${new[@]}" || true # a container without systemd has nothing to disable
    fi
}

[ "${#missing[@]}" = 0 ] || install_packages

# The distribution's Python where it will do: one in somebody's home is not readable to others.
new_enough='import sys; sys.exit(sys.version_info < (3, 11))'
for python in /usr/bin/python3 python3; do
    "$python" -c "$new_enough" 2>/dev/null && break
    python=
done
[ -n "$python" ] || fail "Python environment" "install Python 3.11 or later"

# The environment holds for this folder, this Python and these dependencies.
stamp="$(pwd) $("$python" -V) $(sha256sum <pyproject.toml)"
if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ]; then
    echo "setup: making the Python environment in .venv (about a minute)"
    fresh=false
    if [ ! -e .venv/stamp ] || [[ "$(cat .venv/stamp)" != "$(pwd) $("$python" -V) "* ]]; then
        fresh=true
        rm -rf .venv
    fi
    trap 'if $fresh; then rm -rf .venv; fi' EXIT
    $fresh && { "$python" -m venv .venv || fail "Python environment" "apt-get install python3-venv, then start again"; }
    quiet=--quiet
    [ -t 1 ] && quiet=
    # shellcheck disable=SC2086 # empty or one word
    .venv/bin/python -m pip install $quiet --disable-pip-version-check --no-input --editable '.[dev]' ||
        fail "Python environment (pip)" "see pip's message above (network? proxy? PIP_INDEX_URL?), then start again"
    echo "$stamp" >.venv/stamp
    trap - EXIT
fi
