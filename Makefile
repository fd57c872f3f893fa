# The two commands of a newcomer: `make demo` and `make test`. Both install what they need.

CARGO ?= cargo
# Tests wait for daemons, registries and clocks a good part of their time.
export RUST_TEST_THREADS ?= $(shell expr 2 '*' $$(nproc))

.PHONY: help setup setup-release build image dist packages demo test test-newer fuzz bench lint style fleet release-check \
	clean-parts

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 20

setup: ## install Debian packages and containerd 1.6, 1.7 and 2.1 (quick when done)
	@scripts/setup

setup-release: ## install also what `make release-check` needs
	@scripts/setup release

build: setup ## build the release binary
	$(CARGO) build --release --locked

image: setup ## make target/pullctl-image.tar, an image of what `make dist` has built, or else `make build`
	@[ -e target/artifacts/epoch ] || $(MAKE) build
	@scripts/image

dist: ## make target/artifacts, binaries for every Linux with glibc 2.17, and tarballs
	@scripts/dist

packages: dist ## add .deb, .rpm, SBOM, provenance and SHA256SUMS to target/artifacts
	@scripts/packages

demo: build ## pull an image into a containerd of its own and look at it
	@scripts/demo

test: setup ## run every test, on real daemons and registries
	$(CARGO) test --locked

test-newer: setup ## the tests of each containerd on a newer one, in the folder CONTAINERD_NEWER
	$(if $(CONTAINERD_NEWER),,$(error CONTAINERD_NEWER must name the folder with containerd, its shim and ctr))
	$(CARGO) test --locked --test it -- --ignored

fuzz: setup ## fuzz what reads archives and gzip of unknown origin, FUZZ_SECONDS each (60)
	@scripts/fuzz $(FUZZ_SECONDS)

bench: setup ## race ctr of each containerd, e.g. CASES=one-layer,tiny PAIRS=3 DAEMONS=2.1
	$(CARGO) build --profile dist --locked
	$(CARGO) bench --locked --bench peers -- --pullctl target/dist/pullctl \
	    $(if $(CASES),--cases $(CASES)) $(if $(DAEMONS),--daemons $(DAEMONS)) \
	    $(if $(PAIRS),--pairs $(PAIRS)) $(BENCH_OPTIONS)

# There are no examples: by naming them, docs are made with the dependencies that clippy has checked.
lint: style ## what style looks at, clippy, and docs
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --lib --examples

style: setup ## formatting, scripts, and what dependencies may be: nothing is built
	@shellcheck $$(grep -rlE '^#!/(usr/bin/env (ba)?sh|bin/(ba)?sh)' .ci scripts findings fixtures packaging protos)
	$(CARGO) fmt --check
	@scripts/deny

fleet: build ## measure what seeding NODES nodes (10) costs a registry; as root
	@scripts/fleet target/release/pullctl $(NODES)

release-check: setup-release ## whether this tree can be released: RELEASE.md has the rest
	@scripts/release-check

clean-parts: ## remove the unpacked containerds
	rm -rf .parts
