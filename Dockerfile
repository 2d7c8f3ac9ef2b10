# The image of tsidp-server: the program, CA certificates and /data.
#
#	docker build -t tsidp .
#	docker run -v tsidp:/data -e TS_AUTHKEY=tskey-auth-… tsidp

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH
ENV GOFLAGS=-trimpath
RUN scripts/rootfs /rootfs ${TARGETARCH}

FROM scratch
COPY --from=build /rootfs /
# That of earlier images, whose volumes belong to it; any other works on a new
# volume (docker run --user).
USER 1001:1001
# The older of the two names, so that both override it.
ENV TS_STATE_DIR=/data
VOLUME /data
HEALTHCHECK --start-period=5m --start-interval=5s CMD ["/bin/tsidp-server", "healthcheck"]
ENTRYPOINT ["/bin/tsidp-server"]
