#!/bin/bash
# Brings the container up for real and looks at it from outside: healthy, waiting for a link, config edits live, state kept.
#
#   deploy/check.sh              use a running engine, or start one (root and dockerd needed); otherwise SKIP, loudly
#   deploy/check.sh --required   a skip is a failure
#   deploy/check.sh --install    apt-get install what is missing (Debian, root)
#   deploy/check.sh --full       compile inside the image (network and ten minutes) instead of taking BINARY
#
# BINARY (default: target/release/verso, else target/debug/verso) must be a normal build for this machine's glibc.
# The base image is made with debootstrap when it is not there.
# With DEMO_BINARY (a build with the feature demo) and SIMULATOR (the program wa-simulator) it also links an account: the same
# compose file, that binary in the image, the simulator in the container's network.
set -euo pipefail
cd "$(dirname "$0")/.."
required=0 install=0 full=0
for arg in "$@"; do
  case "$arg" in
    --required) required=1 ;;
    --install) install=1 ;;
    --full) full=1 ;;
    *) echo "unknown argument: $arg" >&2; exit 2 ;;
  esac
done

skip() {
  echo "#############################################################"
  echo "# SKIPPED: the container was not built or started"
  echo "# because: $1"
  echo "#############################################################"
  exit "$required"
}
fail() { echo "FAILED: $1" >&2; exit 1; }
say() { printf '%4ds  %s\n' "$SECONDS" "$1"; }

if [ "$install" = 1 ]; then
  # What is still missing then is named below.
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends docker.io docker-compose debootstrap curl >/dev/null; } \
    || echo "apt-get could not install the container tools" >&2
fi
for tool in dockerd debootstrap curl; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (try --install)"
done
docker=/usr/bin/docker
[ -x "$docker" ] || docker=$(command -v docker) || skip "there is no docker command"

work=$(mktemp -d /tmp/verso-deploy.XXXXXX)
engine=
cleanup() {
  if [ -n "${composed:-}" ]; then "${compose[@]}" down -v --timeout 15 >/dev/null 2>&1 || true; fi
  rm -f deploy/prebuilt/verso
  if [ -n "$engine" ]; then kill "$engine" 2>/dev/null || true; wait "$engine" 2>/dev/null || true; fi
  rm -rf "$work" 2>/dev/null || true
}
trap cleanup EXIT

# An engine of our own: nothing of the machine's is touched, and it ends with this script.
if [ -z "${DOCKER_HOST:-}" ]; then
  [ "$(id -u)" = 0 ] || skip "not root, and DOCKER_HOST names no engine"
  data=${ENGINE_DATA:-$work/data}
  export DOCKER_HOST="unix://$work/docker.sock"
  dockerd --storage-driver vfs --data-root "$data" --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" \
    >"$work/dockerd.log" 2>&1 &
  engine=$!
  for _ in $(seq 60); do
    "$docker" version >/dev/null 2>&1 && break
    kill -0 "$engine" 2>/dev/null || skip "dockerd does not start here: $(grep -iE 'fail|error' "$work/dockerd.log" | tail -1)"
    sleep 0.5
  done
fi
"$docker" version >/dev/null 2>&1 || skip "no engine answers at $DOCKER_HOST"
say "engine answers"

if "$docker" compose version >/dev/null 2>&1; then compose=("$docker" compose)
elif command -v docker-compose >/dev/null; then compose=(docker-compose)
else skip "neither docker compose nor docker-compose is installed"
fi

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
base=${BASE:-debian:bookworm-slim}
if ! "$docker" image inspect "$base" >/dev/null 2>&1; then
  debootstrap --variant=minbase --include=ca-certificates,tzdata "$suite" "$work/root" >"$work/debootstrap.log" 2>&1 \
    || skip "debootstrap failed: $(tail -1 "$work/debootstrap.log")"
  tar -C "$work/root" -c . | "$docker" import - "$base" >/dev/null
  rm -rf "$work/root"
  say "base image made ($suite)"
fi

export VERSO_IMAGE=verso:check
if [ "$full" = 1 ]; then
  "$docker" build -q -f deploy/Dockerfile --build-arg BASE="$base" ${BUILDER:+--build-arg BUILDER="$BUILDER"} -t "$VERSO_IMAGE" . >/dev/null
else
  binary=${BINARY:-target/release/verso}
  [ -x "$binary" ] || binary=target/debug/verso
  [ -x "$binary" ] || skip "there is no binary; build one (cargo build --release) or use --full"
  strip -o deploy/prebuilt/verso "$binary" 2>/dev/null || cp "$binary" deploy/prebuilt/verso
  chmod 755 deploy/prebuilt/verso
  # The legacy builder has no network here and needs none.
  DOCKER_BUILDKIT=0 "$docker" build -q --network none -f deploy/Dockerfile --build-arg BASE="$base" --target prebuilt -t "$VERSO_IMAGE" . >/dev/null \
    || fail "the image does not build"
fi
say "image built: $("$docker" image inspect -f '{{.Size}}' "$VERSO_IMAGE") bytes, user $("$docker" image inspect -f '{{.Config.User}}' "$VERSO_IMAGE")"

# A copy, so that the check may edit the configuration. The folder starts empty: that must be enough.
mkdir "$work/deploy" "$work/deploy/config"
cp deploy/compose.yaml "$work/deploy/"
export VERSO_PORT=${VERSO_PORT:-18797}
compose+=(--project-name versocheck --file "$work/deploy/compose.yaml")
"${compose[@]}" config >/dev/null || fail "compose.yaml is not valid"
composed=1
"${compose[@]}" up -d --no-build >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "compose up"; }
id=$("${compose[@]}" ps -q verso)
inside() { "$docker" exec "$id" "$@"; }
until_true() { # <seconds> <what> <command...>
  local left=$(($1 * 5)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    left=$((left - 1))
    if [ "$left" -le 0 ]; then "$docker" logs "$id" >&2 || true; fail "$what"; fi
    sleep 0.2
  done
}
until_true 20 "the gateway does not answer inside" inside verso health
say "up with an empty config folder; verso health inside: $(inside verso health)"
curl -fsS "http://127.0.0.1:$VERSO_PORT/readyz" >/dev/null || fail "the published port does not answer"
[ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$VERSO_PORT/healthz")" = 200 ] || fail "/healthz"
healthy() { [ "$("$docker" inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]; }
until_true 60 "the health check does not turn healthy" healthy
say "port published on loopback, health check healthy"
# Read to its end first: a pipe that grep closes early makes docker fail.
status_says() { grep -q "$1" <<<"$(inside verso channels status)"; }
status_says "not linked" || fail "channels status does not say that it waits for a link"
[ "$(inside id -u)" != 0 ] || fail "it runs as root"
token=$(inside cat /var/lib/verso/gateway.token)
[ "$(inside stat -c %a /var/lib/verso/gateway.token)" = 600 ] || fail "the token file is not private"

printf '{ channels: { whatsapp: { dmPolicy: "allowlist", allowFrom: ["+15551234567"] } } }\n' >"$work/deploy/config/verso.json"
live() { status_says "dm:allowlist"; }
until_true 10 "an edit on the host is not live" live
say "configuration edited on the host is live"

"$docker" restart -t 15 "$id" >/dev/null
until_true 20 "no answer after a restart" inside verso health
[ "$(inside cat /var/lib/verso/gateway.token)" = "$token" ] || fail "the token changed by a restart"
say "restarted: same state"
begin=$(date +%s); "${compose[@]}" stop >/dev/null 2>&1
[ $(($(date +%s) - begin)) -le 11 ] || fail "it did not stop within 10 s"
[ "$("$docker" inspect -f '{{.State.ExitCode}}' "$id")" = 0 ] || fail "exit code $("$docker" inspect -f '{{.State.ExitCode}}' "$id") after SIGTERM"
say "stopped by SIGTERM with code 0"
if [ -n "${DEMO_BINARY:-}" ] && [ -n "${SIMULATOR:-}" ]; then
  "${compose[@]}" down -v --timeout 15 >/dev/null 2>&1
  strip -o deploy/prebuilt/verso "$DEMO_BINARY" 2>/dev/null || cp "$DEMO_BINARY" deploy/prebuilt/verso
  strip -o "$work/wa-simulator" "$SIMULATOR" 2>/dev/null || cp "$SIMULATOR" "$work/wa-simulator"
  chmod 755 deploy/prebuilt/verso "$work/wa-simulator"
  export VERSO_IMAGE=verso:check-demo
  DOCKER_BUILDKIT=0 "$docker" build -q --network none -f deploy/Dockerfile --build-arg BASE="$base" --target prebuilt -t "$VERSO_IMAGE" . >/dev/null \
    || fail "the demo image does not build"
  rm -f "$work/deploy/config/verso.json"
  printf 'version: "3.8"\nservices:\n  verso:\n    environment:\n      VERSO_WHATSAPP_URL: ws://127.0.0.1:9011/ws/chat\n' >"$work/deploy/demo.yaml"
  compose+=(--file "$work/deploy/demo.yaml")
  "${compose[@]}" up -d --no-build >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; fail "compose up of the demo image"; }
  id=$("${compose[@]}" ps -q verso)
  until_true 20 "the demo gateway does not answer inside" inside verso health
  simulator=$("$docker" run -d --network "container:$id" -v "$work/wa-simulator:/wa-simulator:ro" --entrypoint /wa-simulator \
    "$VERSO_IMAGE" --ws-port 9011 --control-port 9012)
  until_true 20 "the simulator does not come up" sh -c "'$docker' logs $simulator | grep -q control"
  "${compose[@]}" exec -T verso verso channels login --phone +15550100009 >"$work/login.log" 2>&1 &
  login=$!
  code() { grep -oE '^ +[A-Z0-9]{4}-?[A-Z0-9]{4} *$' "$work/login.log" | tr -d ' -'; }
  until_true 30 "verso channels login prints no code: $(cat "$work/login.log")" sh -c "grep -qE '^ +[A-Z0-9]{4}-?[A-Z0-9]{4} *\$' '$work/login.log'"
  body="{\"pn\":\"15550100009\",\"code\":\"$(code)\"}"
  "$docker" exec "$id" bash -c "exec 3<>/dev/tcp/127.0.0.1/9012; printf 'POST /ctl/code HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${#body}\r\nConnection: close\r\n\r\n%s' '$body' >&3; cat <&3" >"$work/code.log" 2>&1 \
    || { cat "$work/code.log" >&2; fail "the phone takes no code"; }
  wait "$login" || { cat "$work/login.log" "$work/code.log" >&2; fail "verso channels login"; }
  until_true 20 "the account does not connect" sh -c "'$docker' exec $id verso channels status | grep -q ' connected'"
  say "docker compose exec verso verso channels login linked an account"
  "$docker" rm -f "$simulator" >/dev/null
fi
echo "deploy: all held"
