#!/usr/bin/env bash
# A run on a ray cluster of machines that are reached by ssh: ray.sh HEAD "NODE1 NODE2" --models ... --data ... --out ...
# Run it on HEAD, in a folder that all machines see. They have the same environment, test sets and checkpoints under the
# same paths. Newer versions of ray want a secret of whoever joins the cluster: this one is made for this run alone.
set -euo pipefail
head=$1 nodes=$2
shift 2
secret=$(mktemp "$PWD/ray-secret.XXXXXX") # nobody else can read it
trap 'ray stop; for node in $nodes; do ssh "$node" ray stop; done; rm -f "$secret"' EXIT
python -c "import secrets; print(secrets.token_hex(32), end='')" > "$secret"
export OMP_NUM_THREADS=1 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$secret
ray start --head --port=6379 --include-dashboard=false
for node in $nodes; do
    ssh "$node" OMP_NUM_THREADS=1 RAY_AUTH_MODE=token "RAY_AUTH_TOKEN_PATH='$secret'" ray start --address="$head:6379"
done
RAY_ADDRESS="$head:6379" python -m bench run --backend ray "$@"
