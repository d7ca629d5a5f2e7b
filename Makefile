.DEFAULT_GOAL := help
.PHONY: help build image compose test race lint fuzz demo bench golden ci

help: ## print the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

build: ## build ./bin/subrelay
	CGO_ENABLED=0 go build -trimpath -o bin/subrelay ./cmd/subrelay

image: ## build the container image subrelay:latest
	docker build --build-arg VERSION="$$(git describe --tags --always --dirty)" --build-arg REVISION="$$(git rev-parse HEAD)" -t subrelay:latest .

compose: ## start a cluster in containers (docker compose down --volumes ends it)
	docker compose up --build --detach --wait

test: ## run the tests, as in the README
	go test ./...

race: ## run the tests under the race detector
	go test -race ./...

lint: ## vet and lint, as CI does
	go vet ./...
	golangci-lint run ./...

fuzz: ## fuzz every fuzz target for 20 s each (FUZZTIME=5s for less)
	.ci/fuzz

demo: ## watch the whole job in one process
	go run ./cmd/subrelay demo

bench: ## measure against the bare floor
	go run ./cmd/subrelay bench

golden: ## rewrite golden files after an intended change of output
	go test ./cmd/subrelay -update

ci: ## everything CI runs
	bash .ci/run
