# One image per process, all from this file:
#
#   docker build --target api -t coursegen-api .        # or outbox-relay, stage-worker, persistence-worker, migrate, operator
#
# scripts/build-images.sh builds them all with docker, podman or buildah. docs/IMAGES.md says what is in them and why. The targets
# that end in -dev are for `skaffold dev` alone: docs/DEVELOPMENT.md.
ARG PYTHON_IMAGE=python:3.13-slim

# ── What every stage begins with ──
FROM ${PYTHON_IMAGE} AS python
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# ── The project as a wheel ──
FROM python AS wheel
WORKDIR /source
COPY requirements/build.txt requirements/build.txt
RUN python -m pip install --quiet --require-hashes --no-deps --target /tools -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY migrations migrations
COPY operators operators
COPY services services
RUN PYTHONPATH=/tools python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel .

# ── Packages of each process: its own lock, its own part of the project, compiled once so that the root may be read-only ──
# A .pyc that is checked by nobody's clock (unchecked-hash) is the same in every build.
FROM python AS build
COPY scripts/install-process /usr/local/bin/install-process

FROM build AS api-packages
COPY requirements/api.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project api

FROM build AS outbox-relay-packages
COPY requirements/relay.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project outbox_relay

FROM build AS stage-worker-packages
COPY requirements/worker.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project stage_worker

FROM build AS persistence-worker-packages
COPY requirements/persistence.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project persistence_worker

FROM build AS migrate-packages
COPY requirements/migrate.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project migrate retention

FROM build AS operator-packages
COPY requirements/operator.txt /requirements.txt
RUN install-process libraries /requirements.txt
COPY --from=wheel /wheel /wheel
RUN install-process project coursegen_operator

# ── The images ──
# Libraries and project are layers of their own: a change of code moves some hundred kilobytes.
FROM python AS process
ENV PYTHONPATH=/opt/coursegen/project:/opt/coursegen/libraries HOME=/tmp
WORKDIR /tmp
USER 10001:10001
# Version and revision are labels that scripts/build-images.sh gives: an argument here would make every layer anew for each commit.
LABEL org.opencontainers.image.licenses="Apache-2.0" org.opencontainers.image.vendor="coursegen"

FROM process AS api
LABEL org.opencontainers.image.title="coursegen-api" org.opencontainers.image.description="Accepts courses over HTTP"
COPY --from=api-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=api-packages /opt/coursegen/project /opt/coursegen/project
EXPOSE 3000 9090
ENTRYPOINT ["python", "-m", "services.api"]

FROM process AS outbox-relay
LABEL org.opencontainers.image.title="coursegen-outbox-relay" org.opencontainers.image.description="Moves committed outbox rows into the queues"
COPY --from=outbox-relay-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=outbox-relay-packages /opt/coursegen/project /opt/coursegen/project
EXPOSE 9090
ENTRYPOINT ["python", "-m", "services.outbox_relay"]

FROM process AS stage-worker
LABEL org.opencontainers.image.title="coursegen-stage-worker" org.opencontainers.image.description="Processes documents, analyses, generates"
COPY --from=stage-worker-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=stage-worker-packages /opt/coursegen/project /opt/coursegen/project
EXPOSE 9090
ENTRYPOINT ["python", "-m", "services.stage_worker"]

FROM process AS persistence-worker
LABEL org.opencontainers.image.title="coursegen-persistence-worker" org.opencontainers.image.description="Writes accepted messages from the stream into PostgreSQL"
COPY --from=persistence-worker-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=persistence-worker-packages /opt/coursegen/project /opt/coursegen/project
EXPOSE 9090
ENTRYPOINT ["python", "-m", "services.persistence_worker"]

FROM process AS operator
LABEL org.opencontainers.image.title="coursegen-operator" org.opencontainers.image.description="Reconciles migrations, retention and alerting rules"
COPY --from=operator-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=operator-packages /opt/coursegen/project /opt/coursegen/project
# Its few threads need no heap each: without this some 10 MB stay taken after the first lists of five hundred resources.
ENV MALLOC_ARENA_MAX=2
EXPOSE 9090
ENTRYPOINT ["python", "-m", "operators.coursegen_operator"]

# ── For `skaffold dev`: code that the process's own user may replace, and a start that follows the change ──
# The loop copies files with tar and removes them with rm. Compiled files are checked against their source here: unchecked ones
# would hide what was copied, and without any a start would take seconds longer.
FROM build AS reload-packages
COPY requirements/reload.txt /requirements.txt
RUN install-process libraries /requirements.txt

FROM api AS api-dev
USER 0:0
ENV PYTHONPATH=/opt/coursegen/project:/opt/coursegen/libraries:/opt/coursegen/reload
COPY --from=reload-packages /opt/coursegen/libraries /opt/coursegen/reload
RUN tar --version >/dev/null && rm --version >/dev/null \
 && PYTHONHASHSEED=0 python -m compileall -q -f -j 1 --invalidation-mode checked-hash /opt/coursegen/project \
 && chown -R 10001:10001 /opt/coursegen/project
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.kernel.reloading", "services.api"]

FROM outbox-relay AS outbox-relay-dev
USER 0:0
ENV PYTHONPATH=/opt/coursegen/project:/opt/coursegen/libraries:/opt/coursegen/reload
COPY --from=reload-packages /opt/coursegen/libraries /opt/coursegen/reload
RUN tar --version >/dev/null && rm --version >/dev/null \
 && PYTHONHASHSEED=0 python -m compileall -q -f -j 1 --invalidation-mode checked-hash /opt/coursegen/project \
 && chown -R 10001:10001 /opt/coursegen/project
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.kernel.reloading", "services.outbox_relay"]

FROM stage-worker AS stage-worker-dev
USER 0:0
ENV PYTHONPATH=/opt/coursegen/project:/opt/coursegen/libraries:/opt/coursegen/reload
COPY --from=reload-packages /opt/coursegen/libraries /opt/coursegen/reload
RUN tar --version >/dev/null && rm --version >/dev/null \
 && PYTHONHASHSEED=0 python -m compileall -q -f -j 1 --invalidation-mode checked-hash /opt/coursegen/project \
 && chown -R 10001:10001 /opt/coursegen/project
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.kernel.reloading", "services.stage_worker"]

FROM persistence-worker AS persistence-worker-dev
USER 0:0
ENV PYTHONPATH=/opt/coursegen/project:/opt/coursegen/libraries:/opt/coursegen/reload
COPY --from=reload-packages /opt/coursegen/libraries /opt/coursegen/reload
RUN tar --version >/dev/null && rm --version >/dev/null \
 && PYTHONHASHSEED=0 python -m compileall -q -f -j 1 --invalidation-mode checked-hash /opt/coursegen/project \
 && chown -R 10001:10001 /opt/coursegen/project
USER 10001:10001
ENTRYPOINT ["python", "-m", "services.kernel.reloading", "services.persistence_worker"]

# ── The last one, which a build without a target makes ──
FROM process AS migrate
LABEL org.opencontainers.image.title="coursegen-migrate" org.opencontainers.image.description="Brings the database's schema up to date"
COPY --from=migrate-packages /opt/coursegen/libraries /opt/coursegen/libraries
COPY --from=migrate-packages /opt/coursegen/project /opt/coursegen/project
ENTRYPOINT ["python", "-m", "services.migrate"]
