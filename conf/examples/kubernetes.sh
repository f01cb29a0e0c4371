#!/usr/bin/env bash
# Kubernetes: the driver runs where this is called, the executors in pods.
#
#   K8S_API=https://host:6443 IMAGE=registry/recsys-executor:1 conf/examples/kubernetes.sh
#
# The image is Spark's own with the executors' packages: FROM apache/spark:4.3.0-python3, and
#   pip install -c constraints.txt numpy scipy pandas pyarrow numba threadpoolctl
# Input and output must be reachable from the pods: object storage or HDFS.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec env PYSPARK_PYTHON=python3 ./spark-submit.sh nightly --config conf/nightly.toml \
  --run-date "${RUN_DATE:-$(date -u -d yesterday +%F)}" \
  --master "k8s://${K8S_API:?the address of the API server}" \
  --conf spark.kubernetes.container.image="${IMAGE:?the image of the executors}" \
  --conf spark.kubernetes.namespace="${NAMESPACE:-default}" \
  --conf spark.kubernetes.authenticate.driver.serviceAccountName="${SERVICE_ACCOUNT:-spark}" \
  --conf spark.executor.instances="${EXECUTORS:-4}" \
  --conf spark.executor.cores=2 \
  --conf spark.executor.memory=4g \
  --conf spark.executor.memoryOverhead=4g
