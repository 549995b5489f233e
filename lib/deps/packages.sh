#!/usr/bin/env bash
# packages.sh KIND...: installs those Debian packages of packages.txt that are missing (kinds: build,
# test, bench, cluster). Says what it does; without root or apt it prints the line to run instead.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

missing=()
for kind in "$@"; do
    while read -r package of _; do
        [ "$of" = "$kind" ] || continue
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done < <(grep -v '^#' "$here/packages.txt")
done
[ ${#missing[@]} -gt 0 ] || exit 0
line="apt-get install -y --no-install-recommends ${missing[*]}"
command -v apt-get >/dev/null || die "these packages are missing: ${missing[*]}" "install them with your system's package manager"
[ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}" "run as root: $line"
say "installing ${#missing[@]} packages: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$CACHE"
log=$CACHE/packages.log
# Packages with daemons start them; we want the programs only, and leave the machine's own services as they are.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
for try in 1 2 3; do
    $line >"$log" 2>&1 && exit 0
    say "not yet (try $try of 3): refreshing the package lists"
    apt-get update >>"$log" 2>&1 || :
done
tail -n 15 "$log" >&2
die "packages could not be installed" "check the network, then run: apt-get update && $line"
