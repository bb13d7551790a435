# The program in a small image:
#   docker build -t sfumato . && docker run --rm -v "$PWD/runs:/runs" sfumato train --out /runs/a --minutes 5
# The stage `tools` (a compiler and the libraries) serves .devcontainer as well.
FROM debian:bookworm AS tools
COPY scripts/setup /opt/setup
RUN /opt/setup && apt-get install -y -qq --no-install-recommends git ca-certificates \
    && rm -rf /var/lib/apt/lists/* /opt/setup

FROM tools AS build
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DSFUMATO_TESTS=OFF -DSFUMATO_BENCH=OFF \
    && cmake --build /build && cmake --install /build --prefix /opt/sfumato --strip

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends libfmt9 libpng16-16 libjpeg62-turbo libgif7 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/sfumato /opt/sfumato
ENV PATH=/opt/sfumato/bin:$PATH
ENTRYPOINT ["sfumato"]
