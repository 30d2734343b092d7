# docker build -t farmgate .
#
# docker run --stop-timeout 40 -p 80:80 -p 443:443 -v /etc/farmgate:/etc/farmgate:ro -v farmgate:/var/lib/farmgate farmgate
#
# The configuration is mounted at /etc/farmgate; the backends are elsewhere than at localhost then. Requests in flight are
# given 30 s at the end, which is more than Docker gives by itself. Commands: docker exec CONTAINER farmgate status

# Debian, of any release with this Rust. BASE may be another image without anything in the way of the folders below.
ARG BUILD=rust:1-bookworm
ARG BASE=scratch

FROM ${BUILD} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates cmake \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin farmgate
# All that is in the last stage, which has no shell that could make it: the program, the libraries that it names, the CAs that
# ACME is spoken with, and a user. The C library reads names from files and asks DNS without further libraries, and its
# loader looks into /lib64 by itself, and for the rest into what ld.so.cache says.
RUN mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/usr/share/doc/farmgate /image/tmp \
 && chmod 1777 /image/tmp \
 && cp target/release/farmgate /image/usr/local/bin/ \
 && strip --strip-unneeded /image/usr/local/bin/farmgate \
 && ldd target/release/farmgate | grep -o '/[^ ]*' | xargs -I '{}' cp --dereference --parents '{}' /image \
 && ldconfig -r /image \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && echo 'hosts: files dns' >/image/etc/nsswitch.conf \
 && echo 'farmgate:x:10001:10001:farmgate:/var/lib/farmgate:/nonexistent' >/image/etc/passwd \
 && echo 'farmgate:x:10001:' >/image/etc/group \
 && cp LICENSE-MIT LICENSE-APACHE /image/usr/share/doc/farmgate/ \
 && mkdir -p /image/var/lib /image/var/cache /image/var/log /image/run \
 && install -d -o 10001 -g 10001 -m 0700 /image/var/lib/farmgate /image/var/cache/farmgate /image/var/log/farmgate /image/run/farmgate

FROM ${BASE}
# Owners and modes come along.
COPY --from=build /image /
# A number and not a name, so that an engine can see that it is not root. It must be able to read what is mounted, keys
# included.
USER 10001:10001
VOLUME ["/var/lib/farmgate", "/var/cache/farmgate", "/var/log/farmgate"]
# Docker lets everybody in a container bind low ports. Where an engine does not, listen on higher ones and map those.
EXPOSE 80 443
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/farmgate", "status"]
ENTRYPOINT ["/usr/local/bin/farmgate"]
CMD ["run"]
