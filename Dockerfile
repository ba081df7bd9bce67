# By digest, so that a build is repeatable; docs/deployment.md says how to take a newer image.
FROM python:3.13-slim@sha256:9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6 AS python

FROM python AS build
WORKDIR /build
COPY requirements.txt ./
# The service needs no pip, so the build's pip installs into the environment.
RUN python -m venv --without-pip /opt/venv
RUN pip --python /opt/venv install --quiet --disable-pip-version-check --require-hashes -r requirements.txt

FROM python
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --no-create-home --home-dir /app app
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY alembic.ini ./
COPY alembic alembic
COPY app app
# Only SQLite writes, and only here; with MySQL the root file system can be read-only. No VOLUME, because Railway refuses
# images with one; a named volume mounted here inherits the folder's owner.
RUN install -d -o app -g app /app/data

ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV ENVIRONMENT=production HOST=0.0.0.0 PORT=8000
USER 10001:10001
EXPOSE 8000
# http.client, because urllib would use a proxy from the environment.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "import os, sys; from http.client import HTTPConnection; service = HTTPConnection('127.0.0.1', int(os.environ['PORT']), timeout=4); service.request('GET', '/health/ready'); sys.exit(service.getresponse().status != 200)"]
# Migrates, then serves. In exec form, so that SIGTERM reaches the server and not a shell.
CMD ["python", "-m", "app", "serve"]
