# One image for every role of insitu. Proxies for the package managers come as the usual build arguments.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
# `npm install --no-save` instead of `npm ci`: docs/decisions/0003-libraries.md. No package needs to run a script here.
RUN npm install --no-save --no-audit --no-fund --ignore-scripts
COPY buf.gen.yaml buf.yaml tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build && npm prune --omit=dev --no-audit --no-fund --ignore-scripts && \
    find node_modules -type f \( -name '*.map' -o -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' \) -delete

FROM moby/buildkit:v0.33.1 AS buildkit

# Emulators that the agent registers with the kernel of a node where the node has none.
FROM node:24-bookworm-slim AS emulators
RUN apt-get update && apt-get install -y --no-install-recommends qemu-user-static && mkdir /emulators && \
    for arch in x86_64 aarch64 arm riscv64 ppc64le s390x i386 mips64el loongarch64; do \
      cp /usr/bin/qemu-$arch-static /emulators/ || exit 1; \
    done && rm -f "/emulators/qemu-$(uname -m)-static"

FROM node:24-bookworm-slim
# git and ssh are for git sources, xz for old layers; the bridge of RUN steps programs the packet filter with iptables.
# A rootless agent gets its 65,536 users from uidmap: user 10001 owns the range, in every container of this image. Debian's
# newuidmap is setuid root, and root in an ordinary pod may not write the map: it has to be the user, with one capability.
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates git iptables libcap2-bin openssh-client uidmap xz-utils && \
    chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap && \
    setcap cap_setuid=ep /usr/bin/newuidmap && setcap cap_setgid=ep /usr/bin/newgidmap && \
    apt-get purge -y libcap2-bin && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/local/lib/node_modules /usr/local/bin/npm /usr/local/bin/npx \
           /usr/local/bin/corepack /opt/yarn* /usr/local/bin/yarn* && \
    groupadd --system --gid 10001 build && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /tmp build && \
    echo build:100000:65536 | tee /etc/subuid > /etc/subgid
# The daemon, its network plug-ins for RUN steps, and its own emulators for nodes where none can be registered. Rootless, it
# runs the steps with a runc of its own.
COPY --from=buildkit /usr/bin/buildkitd /usr/bin/buildctl /usr/bin/buildkit-runc /usr/bin/buildkit-cni-* /usr/bin/buildkit-qemu-* /usr/bin/
COPY --from=emulators /emulators /usr/libexec/insitu
COPY --from=build /src/node_modules /opt/insitu/node_modules
COPY --from=build /src/dist /opt/insitu/dist
COPY package.json LICENSE /opt/insitu/
COPY bin /opt/insitu/bin
RUN ln -s /opt/insitu/bin/insitu /usr/bin/insitu
ENV NODE_ENV=production
# Gateways run as this user; agents are root by their manifest.
USER 65532:65532
ENTRYPOINT ["insitu"]
