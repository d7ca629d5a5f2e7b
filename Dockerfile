# The image holds the program, which knows the time zones, and certificate authorities.
#   docker build --build-arg VERSION=v1.2.3 --build-arg REVISION="$(git rev-parse HEAD)" -t subrelay .
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=(devel)
ARG REVISION=
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X 'main.version=${VERSION}' -X 'main.revision=${REVISION}'" -o /out/subrelay ./cmd/subrelay

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/subrelay /subrelay
USER 65532:65532
# Health and metrics, where worker.http_addr lets others in. There is no shell: `/subrelay health` asks for readiness.
EXPOSE 8480
ENTRYPOINT ["/subrelay"]
CMD ["worker"]
