# The commands for people and for CI. A newcomer needs two of them: `make demo` and `make test`.

# What `make demo` hands on, as in: make demo ARGS="--once --shape mixed"
ARGS =

.PHONY: help demo test test-peers test-backends fuzz fuzz-seeds build fmt deps screenshot

help:
	@echo 'make demo   build Sidetone and caption the bundled call (ARGS="--help" shows its flags)'
	@echo 'make test   check the format, lint, and run every test, the browser test included'
	@echo 'make test-peers  test the gateway against sipp, Kamailio and baresip, the simulator against ringcentral-softphone'
	@echo 'make test-backends  examine the example recogniser in Python, and caption with it'
	@echo 'make fuzz   run every fuzz target for FUZZ_SECONDS (60)'
	@echo 'make build  build the release binary'
	@echo 'make fmt    format the code'
	@echo 'make screenshot  take the picture of the page for the documentation, in a call of the demo'
	@echo 'make deps   install the system packages that a build needs and that are missing'

demo: build
	@"$${CARGO_TARGET_DIR:-target}/release/sidetone" demo $(ARGS)

test:
	@scripts/deps.sh build test
	@scripts/test.sh

test-peers:
	@scripts/deps.sh build peers
	@scripts/test-peers.sh

test-backends:
	@scripts/deps.sh build backends
	@scripts/test-backends.sh

fuzz:
	@scripts/fuzz.sh

fuzz-seeds:
	cargo test --locked -p media-gateway --test fuzz_corpus -- --ignored --exact write_the_seeds

build: deps
	cargo build --release --locked --bin sidetone

fmt:
	cargo fmt --all

screenshot: deps
	@scripts/deps.sh test
	@. scripts/browser.sh && CHROME=$$(find_chrome) CHROMEDRIVER=$$(find_chromedriver) \
		cargo test --workspace --locked --test browser -- --ignored --exact screenshot

deps:
	@scripts/deps.sh build
