# docker build -t farmgate .
#
# docker run --stop-timeout 40 -p 80:80 -p 443:443 -v /etc/farmgate:/etc/farmgate:ro -v farmgate:/var/lib/farmgate farmgate
#
# The configuration is mounted at /etc/farmgate; the backends are elsewhere than at localhost then. Requests in flight are
# given 30 s at the end, which is more than Docker gives by itself.

# Both are Debian of the same release, so that the libc fits.
ARG BUILD=rust:1-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILD} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The folders are made here, because a base without a shell cannot.
RUN cargo build --release --locked --bin farmgate \
 && mkdir -p -m 0700 /folders/state /folders/cache /folders/log /folders/run

FROM ${BASE}
# A number and not a name, which the base would have to know. It must be able to read what is mounted, keys included.
COPY --from=build --chown=10001:10001 /folders/state /var/lib/farmgate
COPY --from=build --chown=10001:10001 /folders/cache /var/cache/farmgate
COPY --from=build --chown=10001:10001 /folders/log /var/log/farmgate
COPY --from=build --chown=10001:10001 /folders/run /run/farmgate
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/farmgate/
COPY --from=build /src/target/release/farmgate /usr/local/bin/farmgate
USER 10001:10001
VOLUME ["/var/lib/farmgate", "/var/cache/farmgate", "/var/log/farmgate"]
# Docker lets everybody in a container bind low ports. Where an engine does not, listen on higher ones and map those.
EXPOSE 80 443
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/farmgate", "status"]
ENTRYPOINT ["/usr/local/bin/farmgate"]
CMD ["run"]
