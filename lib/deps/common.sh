# Sourced by the scripts of this folder: where built things live, how to say what is wrong.
# shellcheck shell=bash
CACHE=${MESH_CACHE:-$HOME/.cache/mesh}
JOBS=$(nproc)

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'remedy: %s\n' "$2" >&2
    exit 1
}

# fetch_source PACKAGE SUITE DIR: the newest Debian source of PACKAGE in SUITE that the archive
# really serves, unpacked (upstream tarball only) into DIR. Nothing of the machine's own apt state
# is touched: lists and sources are private copies of it. A mirror may list a version whose files
# are gone, so every listed version is tried, newest first.
fetch_source() {
    local package=$1 suite=$2 dir=$3 apt=$CACHE/apt-$2 try version
    rm -rf "$dir" && mkdir -p "$dir" "$apt/sources.d" "$apt/lists/partial"
    cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk -v suite="$suite" '
        BEGIN { RS = ""; FS = "\n" }
        /debian/ && /Suites:/ && /Signed-By:.*debian-archive/ {
            sub(/Types:[^\n]*/, "Types: deb-src")
            security = ($0 ~ /Suites:[^\n]*-security/)
            sub(/Suites:[^\n]*/, "Suites: " (security ? suite "-security" : suite " " suite "-updates"))
            print $0 "\n"
        }' >"$apt/sources.d/src.sources"
    if [ ! -s "$apt/sources.d/src.sources" ]; then
        grep -hE '^deb [^[]*debian' /etc/apt/sources.list 2>/dev/null | awk -v suite="$suite" '
            $3 ~ /-security$/ { print "deb-src", $2, suite "-security", "main"; next }
            $3 ~ /-(updates|backports)$/ { next }
            { print "deb-src", $2, suite, "main"; print "deb-src", $2, suite "-updates", "main" }' \
            >"$apt/sources.d/src.list"
        [ -s "$apt/sources.d/src.list" ] || die "no Debian archive is configured in /etc/apt" \
            "add one to /etc/apt/sources.list.d, then run make again"
    fi
    local opts=(-o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/sources.d"
        -o "Dir::State::lists=$apt/lists" -o Acquire::Retries=3 -o APT::Sandbox::User=root)
    for try in 1 2 3; do
        apt-get "${opts[@]}" -qq update >"$apt/update.log" 2>&1 || continue
        for version in $(apt-cache "${opts[@]}" showsrc --only-source "$package" 2>/dev/null |
            awk '/^Version:/ { print $2 }' | sort -rVu); do
            if (cd "$dir" && apt-get "${opts[@]}" -qq source --download-only "$package=$version" \
                >>"$apt/source.log" 2>&1); then
                (cd "$dir" && rm -f ./*.asc && tar xf ./*.orig.tar.* --strip-components=1) || continue
                rm -f "$dir"/*.orig.tar.* "$dir"/*.debian.tar.* "$dir"/*.dsc
                printf '%s' "${version%%-*}" >"$dir/.version"
                return 0
            fi
        done
        say "fetching the source of $package failed (try $try of 3)"
    done
    tail -n 3 "$apt/update.log" "$apt/source.log" >&2 2>/dev/null
    die "the source package $package ($suite) can't be fetched" \
        "check the network and that the Debian archive serves $suite, then run make again"
}
