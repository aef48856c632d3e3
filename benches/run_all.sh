#!/usr/bin/env bash
# Measures all that BENCHMARKS.md holds and writes it anew. On an otherwise idle machine, about half an hour.
#
#   benches/run_all.sh [--quick] [VENV [VENV_DEEPSPARSE]]
#
# VENV and VENV_DEEPSPARSE are Python environments with the other engines (CONTRIBUTING.md); without VENV their
# file of results stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1-} == -* && ${1-} != --quick ]]; then
    sed -n '2,7s/^# \{0,1\}//p' benches/run_all.sh
    exit 2
fi
bench_options=() peers_options=()
if [[ ${1-} == --quick ]]; then
    bench_options=(--quick) peers_options=(--rounds 1 --seconds 0.1)
    shift
fi

cargo build --release
for name in networks conv2d linear sparse images; do
    cargo bench --bench "$name" -- "${bench_options[@]}" --csv "docs/benchmarks/$name.csv"
done
# Needs NVRTC, but no GPU; without it the file of results stays as it is.
cargo bench --bench cuda_resources -- --csv docs/benchmarks/cuda_resources.csv || echo "kept cuda_resources.csv" >&2
if [[ ${1-} ]]; then
    engines=(--python "$1/bin/python" ${2:+--deepsparse "$2/bin/python"})
    python3 benches/peers.py "${engines[@]}" "${peers_options[@]}"
fi
cargo bench --bench report
