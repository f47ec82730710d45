# The two commands of the README are `make demo` and `make test`. Both install what they need.
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a real build on port 2375 of this machine, and the container started from it with nothing pulled
	@scripts/demo.sh

test: ## everything: format, lint, types, unit, integration on real containerd and buildkitd, a real two-node cluster
	@scripts/test.sh

setup: ## only install what the tests need
	@scripts/setup.sh test

check: ## format, lint, types
	@npm run -s check

clean: ## remove everything that was built here (asks nothing; the pinned programs take minutes to build again)
	@scripts/clean.sh

.PHONY: help demo test setup check clean
