# The two commands a newcomer needs: `go run ./cmd/keep-dav` and `make test`.
.PHONY: build test test-long check
build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...
check:
	./scripts/check
test:
	./scripts/test
test-long:
	./scripts/test --long
