"""BLAS threads of a Python worker. Spark already runs one task a core."""

import os

ONE_BLAS_THREAD = (
    "set spark.executorEnv.OMP_NUM_THREADS, spark.executorEnv.OPENBLAS_NUM_THREADS and "
    "spark.executorEnv.MKL_NUM_THREADS to 1"
)
"""What to do where there are more."""


def find_threaded_pools() -> list[str]:
    """The loaded libraries of this process that compute with several threads, and how many."""
    from threadpoolctl import threadpool_info

    return [
        f"{pool['internal_api']} ({pool['num_threads']})"
        for pool in threadpool_info()
        if pool["num_threads"] > 1
    ]


def require_one_blas_thread() -> None:
    """RuntimeError where BLAS has threads of its own: they would fight the other tasks'."""
    threaded = find_threaded_pools()
    if threaded:
        raise RuntimeError(
            f"the Python worker {os.getpid()} runs BLAS with several threads: "
            f"{', '.join(threaded)}; {ONE_BLAS_THREAD}"
        )
