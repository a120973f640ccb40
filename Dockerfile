# Builds Chatlake and puts the one program into a small image. See docs/run/container.md.
#
# Both bases are pinned by tag. To pin them by digest, as you should for a production build, ask your engine for the digests
# (docker buildx imagetools inspect rust:1.95-bookworm) and write FROM rust:1.95-bookworm@sha256:... below.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release && cp target/release/chatlake /usr/local/bin/chatlake

FROM debian:bookworm-slim
# The certificates that vendors are checked against. Time zones are inside the program.
RUN apt-get update -q \
 && apt-get install -y -q --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65532 -g 65532 -m 0700 /data
COPY --from=build /usr/local/bin/chatlake /usr/local/bin/chatlake
USER 65532:65532
ENV CHATLAKE_DATA=/data CHATLAKE_LISTEN=0.0.0.0:8080
# Also where SQLite puts temporary files when the rest of the image is read-only.
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=6s --start-period=10s --retries=3 CMD ["/usr/local/bin/chatlake", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/chatlake"]
# Needs CHATLAKE_PUBLIC_URL (or --public-url): it listens for other machines.
CMD ["serve"]
