#!/usr/bin/env bash
# OpenSSL >= 3.5 as static libraries: prints the prefix. The release of Debian bookworm is 3.0,
# whose AES-GCM lacks VAES (4 against 11 GB/s on one core), so a system without 3.5 gets it built
# once from the source package of trixie, into the cache.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"

if pkg-config --atleast-version=3.5 libcrypto 2>/dev/null; then
    prefix=$(pkg-config --variable=prefix libcrypto)
    libdir=$(pkg-config --variable=libdir libcrypto)
    [ -e "$libdir/libssl.a" ] && [ -e "$libdir/libcrypto.a" ] && { echo "$prefix"; exit 0; }
fi
prefix=$CACHE/openssl-3.5
[ -e "$prefix/.done" ] && { echo "$prefix"; exit 0; }
mkdir -p "$CACHE"
exec 9>"$CACHE/openssl.lock"
flock 9
[ -e "$prefix/.done" ] && { echo "$prefix"; exit 0; }
say "building OpenSSL 3.5 (once, about 2 minutes on 2 cores)"
work=$CACHE/work-openssl
fetch_source openssl trixie "$work"
cd "$work"
say "OpenSSL $(cat .version): configuring"
./Configure linux-"$(uname -m)" --prefix="$prefix" --libdir=lib --openssldir=/etc/ssl \
    no-shared no-tests no-docs no-apps no-legacy no-engine no-module no-dtls no-quic no-ssl3 \
    no-comp no-cmp no-cms no-ct no-ocsp no-ts no-srp no-srtp no-psk no-gost no-dso no-ui-console \
    no-autoload-config no-idea no-seed no-camellia no-aria no-bf no-blake2 no-cast no-md4 no-mdc2 \
    no-rc2 no-rc4 no-rmd160 no-sm2 no-sm3 no-sm4 no-whirlpool no-scrypt no-siphash no-slh-dsa no-ml-dsa \
    -fPIC -O2 -fno-omit-frame-pointer >configure.log 2>&1 || { tail -n 20 configure.log >&2; die "OpenSSL's Configure failed" "see $work/configure.log"; }
say "OpenSSL $(cat .version): compiling"
make -j"$JOBS" build_libs >build.log 2>&1 || { tail -n 20 build.log >&2; die "OpenSSL did not build" "see $work/build.log"; }
rm -rf "$prefix"
make install_dev >install.log 2>&1 || { tail -n 20 install.log >&2; die "OpenSSL did not install" "see $work/install.log"; }
touch "$prefix/.done"
cd / && rm -rf "$work"
say "OpenSSL is in $prefix"
echo "$prefix"
