# A service of this workspace as an image that runs as nobody, for k8s/millpond.
#
#   docker build --build-arg SERVICE=flights --tag millpond/flights:0.1.0 .

FROM rust:1.95-bookworm AS build
ARG SERVICE=flights
# RocksDB is C++, and its bindings are generated with libclang. Both are compiled once, as long as the cache lives.
RUN apt-get update && apt-get install --yes --no-install-recommends clang libclang-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    CARGO_INCREMENTAL=0 cargo build --release --locked --package "$SERVICE" \
    && install -D "target/release/$SERVICE" /out/service \
    && install -d /out/state

FROM debian:bookworm-slim
COPY --from=build /out/service /usr/local/bin/service
# An empty volume takes over owner and mode of the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /out/state /var/lib/millpond
# Three arenas of malloc instead of eight per core: a twentieth less memory at the same speed. With two, threads wait for each other.
ENV MILLPOND_HTTP=0.0.0.0:8080 MILLPOND_STATE_DIR=/var/lib/millpond MALLOC_ARENA_MAX=3
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/service"]
