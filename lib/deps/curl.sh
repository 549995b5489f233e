#!/usr/bin/env bash
# curl.sh OPENSSL_PREFIX: libcurl as a static library with HTTP and nothing else: prints the prefix. Debian's own
# libcurl.a wants Kerberos, LDAP and two more TLS libraries, none of which links statically; so it is built once, from
# the source package of the machine's own release, against the OpenSSL that everything else uses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
openssl=$1

. /etc/os-release
suite=${VERSION_CODENAME:-trixie}
prefix=$CACHE/curl-$suite
# A library built against another OpenSSL would bind to symbols that this one may not have.
stamp="$openssl $(stat -c %Y "$openssl/include/openssl/opensslv.h")"
[ "$(cat "$prefix/.done" 2>/dev/null)" = "$stamp" ] && { echo "$prefix"; exit 0; }
mkdir -p "$CACHE"
exec 9>"$CACHE/curl.lock"
flock 9
[ "$(cat "$prefix/.done" 2>/dev/null)" = "$stamp" ] && { echo "$prefix"; exit 0; }
say "building libcurl (once, about 30 seconds on 2 cores)"
work=$CACHE/work-curl
fetch_source curl "$suite" "$work"
cd "$work"
say "libcurl $(cat .version): configuring"
cmake -S . -B build -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib \
    -DCMAKE_C_FLAGS="-fPIC -fno-omit-frame-pointer -ffunction-sections -fdata-sections" \
    -DBUILD_SHARED_LIBS=OFF -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF \
    -DHTTP_ONLY=ON -DCURL_DISABLE_COOKIES=ON -DCURL_DISABLE_NTLM=ON -DCURL_DISABLE_NETRC=ON \
    -DCURL_DISABLE_ALTSVC=ON -DCURL_DISABLE_HSTS=ON -DCURL_DISABLE_DOH=ON -DCURL_DISABLE_PROGRESS_METER=ON \
    -DCURL_DISABLE_CRYPTO_AUTH=ON -DENABLE_UNIX_SOCKETS=ON -DENABLE_ARES=ON -DUSE_NGHTTP2=ON \
    -DCURL_USE_OPENSSL=ON -DOPENSSL_ROOT_DIR="$openssl" -DOPENSSL_USE_STATIC_LIBS=TRUE \
    -DCURL_DISABLE_OPENSSL_AUTO_LOAD_CONFIG=ON -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none \
    -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBSSH=OFF -DCURL_USE_LIBPSL=OFF -DCURL_USE_GSSAPI=OFF -DUSE_LIBIDN2=OFF \
    -DUSE_LIBRTMP=OFF -DCURL_ZLIB=OFF -DCURL_BROTLI=OFF -DCURL_ZSTD=OFF >configure.log 2>&1 ||
    { tail -n 20 configure.log >&2; die "libcurl could not be configured" "see $work/configure.log"; }
say "libcurl $(cat .version): compiling"
cmake --build build -j"$JOBS" >build.log 2>&1 ||
    { tail -n 20 build.log >&2; die "libcurl did not build" "see $work/build.log"; }
rm -rf "$prefix"
cmake --install build >install.log 2>&1 ||
    { tail -n 20 install.log >&2; die "libcurl did not install" "see $work/install.log"; }
echo "$stamp" >"$prefix/.done"
cd / && rm -rf "$work"
say "libcurl is in $prefix"
echo "$prefix"
