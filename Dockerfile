# The operator's image. Three stages, so that a changed source file rebuilds only the thin last layer: the dependencies
# lie in a layer of their own that changes with the list in pyproject.toml, and the package is installed into an otherwise
# empty copy of the same virtual environment, which is then laid over it.
#
# The secrets are optional: `pip` for a pip.conf (a package index of your own), `ca` for its certificates.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS requirements
WORKDIR /requirements
COPY pyproject.toml constraints.txt* /
# Only the lists go on, so that another change of pyproject.toml leaves the dependencies' layer alone.
RUN python3 -c "import tomllib; p = tomllib.load(open('/pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['stores'], sep='\n')" \
        > requirements.txt \
    && { cat /constraints.txt || true; } > constraints.txt \
    && touch --date=@0 * .

FROM ${BASE} AS dependencies
COPY --from=requirements /requirements /requirements
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv /opt/triton-operator \
    && /opt/triton-operator/bin/pip install --no-cache-dir --no-compile \
        --requirement /requirements/requirements.txt --constraint /requirements/constraints.txt \
    && /opt/triton-operator/bin/pip uninstall --yes pip setuptools \
    && rm -r /requirements \
    && find /opt/triton-operator -type d -name tests -path '*/site-packages/*' -prune -exec rm -r {} + \
    # Checked never: the files do not change in an image, and a look at each source's date costs start-up time.
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/triton-operator/lib

FROM ${BASE} AS package
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/secrets/ca \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir hatchling \
    && python3 -m venv --without-pip /opt/triton-operator
WORKDIR /source
COPY pyproject.toml ./
COPY operator operator
# The README only becomes a text in the package's metadata: an empty one does, and a change of it rebuilds nothing.
RUN touch README.md \
    && /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/triton-operator/bin/python install --no-deps --no-index --no-compile /wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/triton-operator/lib

FROM dependencies
COPY --from=package /opt/triton-operator /opt/triton-operator
ENV PATH=/opt/triton-operator/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 1000:1000
ENTRYPOINT ["triton-operator"]
