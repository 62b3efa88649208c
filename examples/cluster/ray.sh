#!/usr/bin/env bash
# A run on a ray cluster of machines that are reached by ssh: ray.sh HEAD "NODE1 NODE2" --models ... --data ... --out ...
# Run it on HEAD. All machines have the same environment, test sets and checkpoints under the same paths.
set -euo pipefail
head=$1 nodes=$2
shift 2
export OMP_NUM_THREADS=1
ray start --head --port=6379 --include-dashboard=false
trap 'ray stop; for node in $nodes; do ssh "$node" ray stop; done' EXIT
for node in $nodes; do ssh "$node" OMP_NUM_THREADS=1 ray start --address="$head:6379"; done
RAY_ADDRESS="$head:6379" python -m bench run --backend ray "$@"
