# The front door: every target does its own set-up on a fresh Debian machine. The work is in meson.build,
# lib/deps/ (packages, libraries) and tests/.
MESON_ARGS ?=
DEMO_ARGS ?=
CASE ?=
NAME ?= mesh
NODES ?= 1
PREFIX ?= /usr/local
DESTDIR ?=

all: build/mesh

# Packages and OpenSSL are checked each time (a moment); ninja knows the rest.
.PHONY: all build/mesh demo test soak bench cluster cluster-down install lint format clean
build/mesh:
	@[ -e build/mesh ] || echo "==> building mesh: packages, OpenSSL (once, 1 to 2 minutes), then the binary (about 1 minute)"
	@bash lib/deps/packages.sh build
	@bash lib/deps/meson.sh build $(MESON_ARGS)
	@ninja -C build --quiet mesh
	@echo "==> build/mesh $$(stat -c %s build/mesh) bytes, $$(build/mesh version | head -n 1)"

demo: build/mesh
	build/mesh demo $(DEMO_ARGS)

test:
	@bash lib/deps/packages.sh build test cluster
	@python3 tests/run $(TEST_ARGS)

soak:
	@bash lib/deps/packages.sh build test cluster
	@python3 tests/run --soak $(TEST_ARGS)

bench: build/mesh
	@bash lib/deps/packages.sh build test bench
	@CASE=$(CASE) python3 tests/bench/run

# A real Kubernetes that stays, to try things on; built once from its Go modules.
cluster: build/mesh
	@bash lib/deps/packages.sh build test cluster
	@cd tests && python3 -m cluster up --name $(NAME) --nodes $(NODES)

cluster-down:
	@cd tests && python3 -m cluster down --name $(NAME)

install: build/mesh
	install -D -m 0755 build/mesh $(DESTDIR)$(PREFIX)/bin/mesh

lint:
	@python3 tests/run lint

format:
	@python3 tests/run --format

clean:
	rm -rf build
