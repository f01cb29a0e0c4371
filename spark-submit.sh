#!/usr/bin/env bash
# The one way in: sets up a fresh machine, then runs a command with spark-submit or plain Python.
#
#   ./spark-submit.sh [COMMAND] [OPTION ...]
#
#   nightly   the batch job (the default); --config FILE --run-date YYYY-MM-DD --set section.key=value
#   evaluate  measures models on ratings held out of training; --model NAME --output DIR
#   tune      searches settings; --trials N --output DIR
#   runs      lists the runs of an output; rollback RUN_ID makes an earlier one current again
#   show      what a published run says of a user or an item; --user ID, --item TITLE
#   fetch     downloads public ratings: movielens-small, movielens-25m, goodbooks
#   report    makes the page of a published run anew; --run RUN_ID --output FILE
#   warmup    builds an archive of Spark's classes, once: later runs start faster; --force --runs N
#   test      the test suite; arguments go to pytest
#   lint      format, lint and type checks
#   bench     benchmarks against what a user would take instead
#   shell     a Python prompt in the environment
#   --help    all commands
#
# For nightly also: --master URL (or SPARK_MASTER), --conf key=value and --archives FILE, as in
# spark-submit. Exit codes: 0 published (other commands: done), 2 configuration, 3 environment,
# 4 input, 5 not fit to publish, 6 locked by another run, 1 anything else.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv

fail() { # fail CODE MESSAGE
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

say() { printf '%s\n' "$*" >&2; }

can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_install() {
  say "installing $* with apt-get"
  (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@") >/dev/null ||
    fail 3 "apt-get could not install $*"
}

# --- Python -------------------------------------------------------------------------------------

find_python() {
  local candidate
  for candidate in python3 python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

create_venv() {
  local python
  python=$(find_python) || fail 3 "Python 3.11 or newer is needed: install python3 and try again"
  if ! "$python" -m venv --clear "$venv" >/dev/null 2>&1; then
    can_install || fail 3 "$python cannot make a virtual environment: install python3-venv and try again"
    apt_install python3-venv
    "$python" -m venv --clear "$venv" >/dev/null || fail 3 "$python -m venv $venv failed"
  fi
}

# Installs the package with what is named in $1 ("" or "dev"), unless that has been done for these
# requirements already. The stamp is written last: a set-up that was cut off starts anew.
set_up() {
  local extra=$1 stamp=$venv/.set-up${1:+-${1//,/-}} wanted
  wanted="$root $(cat "$root/pyproject.toml" "$root/conf/constraints.txt" | cksum)"
  [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
  say "setting up $venv${extra:+ for $extra} (once, a few minutes)"
  [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null || create_venv
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint "$root/conf/constraints.txt" --editable "$root${extra:+[$extra]}" >&2 ||
    fail 3 "pip could not install the packages of pyproject.toml; its messages are above"
  printf '%s\n' "$wanted" >"$stamp"
}

# --- Java ---------------------------------------------------------------------------------------

java_is_new_enough() {
  local major
  java_version=$("$1" -version 2>&1) || return 1
  major=$(printf '%s\n' "$java_version" | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${major:-0}" -ge 17 ]
}

find_java() {
  if [ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ] && java_is_new_enough "$JAVA_HOME/bin/java"; then
    return
  fi
  # A JAVA_HOME that is too old would be taken by Spark before the one on PATH.
  unset JAVA_HOME
  command -v java >/dev/null && java_is_new_enough java
}

need_java() {
  find_java && return
  can_install || fail 3 "Java 17 or newer is needed: install a JRE (Debian, Ubuntu: openjdk-17-jre-headless) or set JAVA_HOME"
  apt_install openjdk-17-jre-headless
  find_java || fail 3 "Java 17 was installed but is not found: set JAVA_HOME"
}

# --- Running ------------------------------------------------------------------------------------

set_up_spark_environment() {
  need_java
  export PYSPARK_PYTHON=${PYSPARK_PYTHON:-$venv/bin/python}
  export PYSPARK_DRIVER_PYTHON=$venv/bin/python
  SPARK_HOME=$("$venv/bin/python" -c 'import importlib.util as u; print(u.find_spec("pyspark").submodule_search_locations[0])')
  export SPARK_HOME
  # log4j2.properties is found here.
  export SPARK_CONF_DIR=${SPARK_CONF_DIR:-$root/conf}
  # Local runs need no network, and must not depend on how the host resolves its own name.
  case ${SPARK_MASTER:-local} in local*) export SPARK_LOCAL_IP=${SPARK_LOCAL_IP:-127.0.0.1} ;; esac
  if [ -z "${RECSYS_SPARK_LOG:-}" ]; then
    mkdir -p "$root/.logs" 2>/dev/null || true
    if [ -w "$root/.logs" ]; then
      export RECSYS_SPARK_LOG=$root/.logs/spark.log
    fi
  fi
  # spark-submit pipes the driver's output; progress bars and widths must know of a terminal.
  if [ -t 1 ]; then
    export RECSYS_TERMINAL=1 COLUMNS=${COLUMNS:-$(tput cols 2>/dev/null || echo 100)}
  fi
  # Without it Python would find jobs/*.py as top-level modules beside the script.
  export PYTHONSAFEPATH=1
}

# Where `warmup` keeps its archive. The name holds what the JVM compares before it takes one: its own
# build, and the class path, in the order in which the directory lists it. Empty where there can be none.
name_class_archive() {
  local cache=${XDG_CACHE_HOME:-} spark java=unknown key
  # The XDG specification wants relative paths ignored.
  case $cache in /*) ;; *) cache=${HOME:+$HOME/.cache} ;; esac
  # These characters have a meaning in the values of the JVM's options.
  case $cache$root in '' | "$root" | *[\"\\,:]*) return 0 ;; esac
  spark=$(printf '%s\n' "$SPARK_HOME"/jars/spark-core_*.jar)
  spark=${spark##*-}
  [[ $java_version =~ Runtime\ Environment[^\(]*\(build\ ([^\)]*)\) ]] && java=${BASH_REMATCH[1]}
  key=$({ printf '%s\n' "$java_version" "$SPARK_HOME"
    find "$SPARK_HOME/jars" -name '*.jar' -printf '%f %s %T@\n' 2>/dev/null || true; } | cksum)
  java=${java//[^A-Za-z0-9._+-]/_}
  printf '%s\n' "$cache/recsys-nightly/spark-${spark%.jar}-java-$java-${key%% *}.jsa"
}

# The JVM makes and takes no archive where a directory with files is on its class path. So conf/ gives
# its place there to one that does not exist, and log4j is told of its file.
leave_conf_off_class_path() {
  export SPARK_CONF_DIR=$venv/no-conf
  # Of two values of one property the later counts: the user's.
  export SPARK_SUBMIT_OPTS="-Dlog4j2.configurationFile=\"$root/conf/log4j2.properties\" ${SPARK_SUBMIT_OPTS:-}"
}

# Lets the JVM start from the archive, where there is one and it is whole: Java 17 crashes on one that
# was cut off. One that does not fit after all is passed over by the JVM; -Xlog keeps that quiet.
use_class_archive() {
  local archive
  case ${SPARK_MASTER:-local} in local | local\[*) ;; *) return 0 ;; esac
  # The user's own configuration directory or archive is left alone.
  [ "$SPARK_CONF_DIR" = "$root/conf" ] || return 0
  case ${SPARK_SUBMIT_OPTS:-} in *SharedArchiveFile* | *ArchiveClassesAtExit* | *-Xshare*) return 0 ;; esac
  archive=$(name_class_archive)
  [ -r "$archive" ] && [ -s "$archive.cksum" ] || return 0
  [ "$(cksum <"$archive")" = "$(cat "$archive.cksum")" ] || return 0
  leave_conf_off_class_path
  SPARK_SUBMIT_OPTS+=" -XX:SharedArchiveFile=\"$archive\" -Xshare:auto -Xlog:cds*=off"
}

run_warmup() {
  case " $* " in *" --help "* | *" -h "*) exec "$venv/bin/python" -m jobs.cli warmup --help ;; esac
  # What may be on the class path beside Spark's own jars is not for the archive.
  unset HADOOP_CONF_DIR YARN_CONF_DIR SPARK_DIST_CLASSPATH SPARK_CONF_DIR
  set_up_spark_environment
  leave_conf_off_class_path
  exec "$venv/bin/python" -m jobs.cli warmup --archive "$(name_class_archive)" "$@"
}

# Something in the packages that is newer than $1; a directory is where a file has gone.
newer_sources() {
  find "$root/jobs" "$root/recsys_core" \( -name '*.py' -o -path '*/templates/*' -o -type d ! -name __pycache__ \) -newer "$1" -print -quit
}

# The packages as the executors get them; made anew only when a source is newer.
zip_packages() {
  local archive=$venv/recsys.zip
  if [ ! -e "$archive" ] || [ -n "$(newer_sources "$archive")" ]; then
    (cd "$root" && "$venv/bin/python" - "$archive" <<'PYTHON'
import os
import sys
import zipfile
from pathlib import Path

target = Path(sys.argv[1])
temporary = target.with_suffix(f".{os.getpid()}")
with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
    for package in ("jobs", "recsys_core"):
        # The templates of the report go along: a driver in the cluster runs from this zip.
        for source in sorted([*Path(package).rglob("*.py"), *Path(package).rglob("templates/*")]):
            archive.write(source)
temporary.replace(target)
PYTHON
    ) >&2
  fi
  printf '%s\n' "$archive"
}

# Parts what is spark-submit's from what is the job's: sets spark_options and job_options.
take_spark_options() {
  spark_options=() job_options=() config_given=
  while [ $# -gt 0 ]; do
    case $1 in
      --master) [ $# -gt 1 ] || fail 2 "--master needs a value"; SPARK_MASTER=$2; shift 2 ;;
      --master=*) SPARK_MASTER=${1#*=}; shift ;;
      --conf | --archives | --deploy-mode | --packages | --jars)
        [ $# -gt 1 ] || fail 2 "$1 needs a value"
        spark_options+=("$1" "$2"); shift 2 ;;
      --conf=* | --archives=* | --deploy-mode=* | --packages=* | --jars=*)
        spark_options+=("${1%%=*}" "${1#*=}"); shift ;;
      --config | --config=*) config_given=1; job_options+=("$1"); shift ;;
      *) job_options+=("$1"); shift ;;
    esac
  done
}

# The built-in sample, where it is what is asked for and not there yet.
make_sample() {
  if [ -z "$config_given" ] && [ ! -e .sample/ratings.csv ]; then
    "$venv/bin/python" -m jobs.cli sample >&2 || exit $?
  fi
}

run_experiment() { # run_experiment COMMAND OPTION ...
  local experiment=$1
  take_spark_options "${@:2}"
  case " ${job_options[*]-} " in *" --help "* | *" -h "*) exec "$venv/bin/python" -m jobs.cli "$experiment" --help ;; esac
  make_sample
  set_up_spark_environment
  use_class_archive
  # The JVM is started by the command itself, once it has found the settings right.
  export PYSPARK_SUBMIT_ARGS
  printf -v PYSPARK_SUBMIT_ARGS '%q ' --master "${SPARK_MASTER:-local[*]}" \
    --properties-file "$root/conf/spark-defaults.conf" \
    ${spark_options[@]+"${spark_options[@]}"} pyspark-shell
  exec "$venv/bin/python" -m jobs.cli "$experiment" ${job_options[@]+"${job_options[@]}"}
}

run_nightly() {
  take_spark_options "$@"
  # Named here, as the code that runs under Spark comes from a zip that has no conf/ beside it.
  [ -n "$config_given" ] || job_options+=(--config "$root/conf/sample.toml")
  case " ${job_options[*]} " in *" --help "* | *" -h "*) exec "$venv/bin/python" -m jobs.cli nightly --help ;; esac
  # A wrong setting is answered here, in a second, before a JVM is started for it.
  "$venv/bin/python" -m jobs.cli check "${job_options[@]}" || exit $?
  make_sample
  set_up_spark_environment
  use_class_archive
  # Local workers import the installed packages, beside which compiled code is kept; a zip would be
  # unpacked under another name, and compiled again, each night.
  case ${SPARK_MASTER:-local} in
    local | local\[*) ;;
    *) spark_options+=(--py-files "$(zip_packages)") ;;
  esac
  exec "$SPARK_HOME/bin/spark-submit" --master "${SPARK_MASTER:-local[*]}" \
    --properties-file "$root/conf/spark-defaults.conf" \
    ${spark_options[@]+"${spark_options[@]}"} \
    "$root/jobs/nightly.py" "${job_options[@]}"
}

command=nightly
case ${1:-} in
  -h | --help | help) set -- ; command=help ;;
  -*) ;;
  ?*) command=$1; shift ;;
esac

case $command in
  help)
    sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"
    set_up ""
    exec "$venv/bin/python" -m jobs.cli --help
    ;;
  nightly) set_up ""; run_nightly "$@" ;;
  warmup) set_up ""; run_warmup "$@" ;;
  test)
    set_up dev
    set_up_spark_environment
    cd "$root" && exec "$venv/bin/python" -m pytest "$@"
    ;;
  bench)
    set_up dev,bench
    set_up_spark_environment
    PYTHONPATH=$root/tests exec "$venv/bin/python" -m benchmarks.bench "$@"
    ;;
  lint)
    set_up dev
    cd "$root"
    "$venv/bin/ruff" format --check . && "$venv/bin/ruff" check . && exec "$venv/bin/python" -m mypy
    ;;
  evaluate) set_up ""; run_experiment "$command" "$@" ;;
  tune) set_up tune; run_experiment "$command" "$@" ;;
  runs | rollback)
    set_up ""
    # Only outputs that are not on this machine's disk, and tables of a metastore, take a JVM.
    if find_java; then set_up_spark_environment; fi
    exec "$venv/bin/python" -m jobs.cli "$command" "$@"
    ;;
  shell) set_up ""; set_up_spark_environment; exec "$venv/bin/python" "$@" ;;
  *) set_up ""; exec "$venv/bin/python" -m jobs.cli "$command" "$@" ;;
esac
