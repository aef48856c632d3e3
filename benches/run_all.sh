#!/usr/bin/env bash
# Measures everything in BENCHMARKS.md and rewrites it. On an otherwise idle machine, about half an hour.
#
#   benches/run_all.sh [--quick] [VENV [VENV_DEEPSPARSE]]
#   benches/run_all.sh --smoke DIR
#
# VENV and VENV_DEEPSPARSE are Python environments with the other engines (CONTRIBUTING.md); without VENV their
# results stay as they are. --quick times each case for an instant. --smoke runs each benchmark once in its smallest
# form and writes only to DIR: it shows that the benchmarks still run, as .ci/run does.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,9s/^# \{0,1\}//p' benches/run_all.sh
    exit 2
}

smoke() {
    local out=$1 small=(--networks resnet8 --size 32 --batch 1)
    bench() { cargo bench --quiet --bench "$1" -- --quick "${@:2}" --csv "$out/$1.csv" >/dev/null; }
    bench networks "${small[@]}" --threads 1
    bench conv2d "${small[@]}"
    bench linear --batch 1 --threads 1
    bench sparse --batch 1 --threads 1
    bench images
    cargo bench --quiet --bench ratios -- --help >/dev/null
    python3 benches/peers.py --rounds 1 --seconds 0.01 --threads 1 --cases 'network resnet18 b1' --work "$out/peers" --out "$out/peers.csv"
}

bench_options=() peers_options=()
case ${1-} in
--smoke)
    [[ ${2-} ]] || usage
    mkdir -p "$2"
    cargo build --release --quiet
    smoke "$2"
    exit
    ;;
--quick)
    bench_options=(--quick) peers_options=(--rounds 1 --seconds 0.1)
    shift
    ;;
-*) usage ;;
esac

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
