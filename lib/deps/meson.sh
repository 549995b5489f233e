#!/usr/bin/env bash
# meson.sh FOLDER [meson arguments]: configures a build folder against the libraries of this machine, once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
folder=$1
shift
openssl=$(bash "$here/openssl.sh")
curl=$(bash "$here/curl.sh" "$openssl")
[ -e "$folder/build.ninja" ] && [ "$(cat "$folder/.configured" 2>/dev/null)" = "$openssl $curl $*" ] && exit 0
say "configuring $folder"
[ -e "$folder/build.ninja" ] && wipe=--wipe || wipe=
meson setup $wipe "$folder" "$here/../.." "-Dopenssl=$openssl" "-Dcurl=$curl" "$@" >"$CACHE/meson.log" 2>&1 ||
    { tail -n 20 "$CACHE/meson.log" >&2; die "meson could not configure $folder" "see $CACHE/meson.log"; }
echo "$openssl $curl $*" >"$folder/.configured"
