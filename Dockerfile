# One node of raftq: docker build --tag raftq .
# To pin the base by digest, name it: --build-arg PYTHON_IMAGE=python:3.13.11-slim-bookworm@sha256:…
# tests/integration/packaging runs what this file says, without an engine. docs/containers.md has the rest.
ARG PYTHON_IMAGE=python:3.13.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY cluster cluster
RUN python -m pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /wheels .
RUN python -m venv /opt/raftq
RUN /opt/raftq/bin/python -m pip install --quiet --no-cache-dir --find-links /wheels "raftq[server,fast,certs]"
RUN /opt/raftq/bin/python -m pip uninstall --quiet --yes pip setuptools
# The data directory as the node wants it: a new volume takes its owner and mode from here.
RUN install -d -m 0700 /data

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/raftq /opt/raftq
COPY --from=build --chown=10001:10001 /data /var/lib/raftq
ENV PATH=/opt/raftq/bin:/usr/local/bin:/usr/bin:/bin \
    RAFTQ_DATA_DIR=/var/lib/raftq
USER 10001:10001
WORKDIR /var/lib/raftq
VOLUME /var/lib/raftq
EXPOSE 7677 7979 7678
# raftqd itself is process 1: it starts nothing, and drains on SIGTERM.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["raftqd", "health"]
ENTRYPOINT ["raftqd"]
