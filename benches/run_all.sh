#!/usr/bin/env bash
# Measures everything in BENCHMARKS.md and rewrites it. Takes about half an hour on an otherwise idle machine.
#
#   benches/run_all.sh [--quick] [VENV [VENV_DEEPSPARSE]]
#   benches/run_all.sh --smoke DIR
#
# VENV and VENV_DEEPSPARSE are Python environments with the other engines (CONTRIBUTING.md); without VENV, their
# results stay unchanged. --quick times each case only briefly. --smoke runs each benchmark once in its smallest
# form and writes only to DIR, to check that the benchmarks still run; .ci/run does this.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '2,9s/^# \{0,1\}//p' benches/run_all.sh
    exit 2
}

smoke() {
    local out=$1 small=(--networks resnet8 --size 32 --batch 1)
    local benches=(networks conv2d choice linear sparse atlas images estimate ratios)
    # All at once, because one after the other they would leave cores idle.
    cargo bench --quiet --no-run "${benches[@]/#/--bench=}"
    bench() { cargo bench --quiet --bench "$1" -- --quick "${@:2}" --csv "$out/$1.csv" >/dev/null; }
    bench networks "${small[@]}" --threads 1
    bench conv2d "${small[@]}"
    bench choice --kernel 1 --threads 1 --zeros 0,90 --blocks 1 --weights cache
    bench linear --batch 1 --threads 1
    bench sparse --batch 1 --threads 1
    bench atlas --networks resnet8 --size 32 --batch 1 --threads 1 --sparsity 0,90
    bench images
    bench estimate "${small[@]:0:4}" --threads 1
    cargo bench --quiet --bench ratios -- --help >/dev/null
    python3 benches/pruners.py --limit 10 --width 0.25 --latency 0.9 --epochs 1 --tune 1 --seeds 1 --batch 1 \
        --work "$out/pruners" --out "$out/pruners.csv"
    python3 benches/normalizations.py --images 10 --epochs 1 --networks vgg8_bn --criteria large_final --fractions 0.5 --seeds 1 >/dev/null
    python3 benches/data_free.py --teacher resnet8 --images 4 --teacher-epochs 1 --count 20 --steps 2 --epochs 1 --batch 4 \
        --seeds 1 >/dev/null
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
for name in networks conv2d linear sparse atlas images; do
    cargo bench --bench "$name" -- "${bench_options[@]}" --csv "docs/benchmarks/$name.csv"
done
# Needs NVRTC, but no GPU; without NVRTC, the result file stays unchanged.
cargo bench --bench cuda_resources -- --csv docs/benchmarks/cuda_resources.csv || echo "kept cuda_resources.csv" >&2
if [[ ${1-} ]]; then
    engines=(--python "$1/bin/python" ${2:+--deepsparse "$2/bin/python"})
    python3 benches/peers.py "${engines[@]}" "${peers_options[@]}"
    python3 benches/peers.py "${engines[@]}" "${peers_options[@]}" --cases sparse --out docs/benchmarks/sparse_peers.csv
    python3 benches/peers.py "${engines[@]}" "${peers_options[@]}" --cases onnx --out docs/benchmarks/onnx_peers.csv
fi
cargo bench --bench report
