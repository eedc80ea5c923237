# The host as a small, non-root image. Plugins come signed, from a volume or a registry; none are built in.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release -p ice-cli && mkdir -p /out/data && cp target/release/ice /out/ice

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/ice /usr/local/bin/ice
COPY --from=build --chown=nonroot:nonroot /out/data /var/lib/ice
ENV ICE_HOME=/var/lib/ice
VOLUME /var/lib/ice
USER nonroot
ENTRYPOINT ["/usr/local/bin/ice"]
CMD ["doctor"]
