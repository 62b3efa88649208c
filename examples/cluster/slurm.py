"""A run on SLURM through dask-jobqueue: `pip install dask-jobqueue 'forgery-bench[dask]'`, then edit and start this.

python slurm.py --models mpc,classical --data casia1:/shared/CASIA1 --out /shared/runs/first

Everything after the script's name goes to `bench run`. It runs on the login node or in a job of its own; run folder,
test sets, checkpoints and the Python environment lie on a file system that all nodes see under the same path.
"""

import os
import subprocess
import sys

from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    cluster = SLURMCluster(
        queue="normal",
        cores=16,  # per SLURM job
        processes=16,  # one worker a core: the suite uses one thread in each
        memory="64GB",
        walltime="04:00:00",
        job_script_prologue=["export OMP_NUM_THREADS=1"],
        scheduler_options={"dashboard_address": None},
    )
    cluster.adapt(minimum_jobs=1, maximum_jobs=8)  # SLURM may end jobs at any time: what they held is done again
    cluster.wait_for_workers(1)  # the first job may wait in SLURM's queue for longer than the suite waits for a worker
    environment = {**os.environ, "DASK_SCHEDULER_ADDRESS": cluster.scheduler_address}
    command = [sys.executable, "-m", "bench", "run", "--backend", "dask", *sys.argv[1:]]
    sys.exit(subprocess.run(command, env=environment).returncode)
