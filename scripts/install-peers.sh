#!/bin/sh
# Install the Debian packages that tests and benchmarks talk to. Asks nothing; does nothing when all are there.
# Without root it says what is missing and goes on: tests skip what they can't have (with CI=true that is a failure).
set -u
wanted=""
need() { # need PROGRAM PACKAGE…
    command -v "$1" >/dev/null 2>&1 || { shift; wanted="$wanted $*"; }
}
need nginx nginx-light
need wrk wrk
need curl curl
need openssl openssl
need named bind9
need callgrind_control valgrind
need strace strace
need h2load nghttp2-client
command -v php-fpm8.2 >/dev/null 2>&1 || command -v php-fpm8.4 >/dev/null 2>&1 || need no-such-program php-fpm
[ -e /usr/lib/uwsgi/plugins/python3_plugin.so ] || need no-such-program uwsgi-core uwsgi-plugin-python3

# Pebble, the ACME authority for tests. Debian 12 has 2.4, which knows neither renewal information nor profiles; the tests
# of these are skipped with it. A newer one is built if there is a Go for it (1.24), and takes a minute.
pebble=github.com/letsencrypt/pebble/v2/cmd
pebble_version=v2.10.1
go_minor=$(go version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
if ! command -v pebble >/dev/null 2>&1 || ! command -v pebble-challtestsrv >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && [ "${go_minor:-0}" -ge 24 ] && echo "building: pebble $pebble_version" &&
        GOBIN=/usr/local/bin go install "$pebble/pebble@$pebble_version" "$pebble/pebble-challtestsrv@$pebble_version"; then
        :
    else
        wanted="$wanted pebble"
    fi
fi
# The OWASP Core Rule Set, rules and regression tests, is a module of Go; Debian 12 has version 3.
crs=/usr/local/share/coreruleset
if [ ! -d $crs/rules ]; then
    if [ "$(id -u)" = 0 ] && command -v go >/dev/null 2>&1 && echo "fetching: coraza-coreruleset" &&
        module=$(go mod download -json github.com/corazawaf/coraza-coreruleset/v4@v4.25.0 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p') &&
        [ -n "$module" ]; then
        rm -rf $crs.new && mkdir -p $crs.new && cp -r "$module/rules/@owasp_crs" $crs.new/rules &&
            cp "$module/rules/@crs-setup.conf.example" $crs.new/crs-setup.conf.example &&
            { [ ! -d "$module/tests" ] || cp -r "$module/tests" $crs.new/tests; } &&
            chmod -R u+w,a+rX $crs.new && mv $crs.new $crs
    else
        echo "note: tests that need the Core Rule Set are skipped: install Go, and run this as root" >&2
    fi
fi
# h2spec is no package: Go builds it.
if ! command -v h2spec >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v go >/dev/null 2>&1; then
        echo "installing: h2spec"
        GOBIN=/usr/local/bin GOFLAGS=-mod=mod go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible ||
            echo "note: go could not install h2spec" >&2
    else
        echo "note: tests that need h2spec are skipped: install Go, and run this as root" >&2
    fi
fi
[ -z "$wanted" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "note: tests that need these Debian packages are skipped:$wanted" >&2
    exit 0
fi
echo "installing:$wanted"
apt-get update -qq
# A policy of 101 keeps the packages from starting their services.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT; }
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $wanted >/dev/null ||
    echo "note: apt-get could not install:$wanted" >&2
