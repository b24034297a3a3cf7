#!/usr/bin/env bash
# Airflow with this project's DAGs and settings:
#   dags/airflow.sh standalone
#   dags/airflow.sh dags test sessions_hourly 2016-03-14T13
# HOURGLASS_WORK (default: work) holds Airflow's own state too; HOURGLASS_CONFIG names the settings.
# Anything set in the environment already wins over dags/airflow.env.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
from=$PWD

# Tasks run in the project's folder, so what the caller gave relative to its own is made absolute.
for name in HOURGLASS_WORK HOURGLASS_CONFIG; do
  given=${!name:-}
  # As pipeline/settings/folders.py has it.
  case $given in
    file:///*) given=${given#file://} ;;
    '~' | '~/'*) given=$HOME${given#\~} ;;
  esac
  if [[ $given =~ ^[A-Za-z][A-Za-z0-9+.-]+:/ ]]; then
    echo "$name=$given: must be a path on this machine, of a local or mounted folder" >&2
    exit 2
  fi
  if [ -n "$given" ] && [ "${given#/}" = "$given" ]; then
    given=$from/$given
  fi
  if [ -n "$given" ]; then
    export "$name=$given"
  fi
done

while IFS= read -r line || [ -n "$line" ]; do
  case $line in '' | '#'*) continue ;; esac
  name=${line%%=*}
  if [ -z "${!name+set}" ]; then
    export "$name=${line#*=}"
  fi
done <"$root/dags/airflow.env"

export AIRFLOW_HOME="${AIRFLOW_HOME:-${HOURGLASS_WORK:-$root/work}/airflow}"
export AIRFLOW__CORE__DAGS_FOLDER="${AIRFLOW__CORE__DAGS_FOLDER:-$root/dags}"
export AIRFLOW__CORE__PLUGINS_FOLDER="${AIRFLOW__CORE__PLUGINS_FOLDER:-$root/dags/plugins}"
# Tasks report to the API server at this address, which does not follow the port by itself.
export AIRFLOW__API__BASE_URL="${AIRFLOW__API__BASE_URL:-http://localhost:${AIRFLOW__API__PORT:-8080}}"
if [ -x "$root/.venv/bin/airflow" ] && ! command -v airflow >/dev/null; then
  PATH="$root/.venv/bin:$PATH"
fi
if ! command -v airflow >/dev/null; then
  echo "airflow is not installed: run 'make venv' in $root" >&2
  exit 1
fi

# Passwords, keys, logs and Airflow's database are for this user alone.  Tasks go back to the
# caller's mask, since tables, models and reports may have other readers.
export TASK_UMASK="${TASK_UMASK:-$(umask)}"
umask 077
passwords="${AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE:-}"
passwords="${passwords:-$AIRFLOW_HOME/simple_auth_manager_passwords.json.generated}"
mkdir -p "$AIRFLOW_HOME"
for path in "$AIRFLOW_HOME" "$passwords" "$AIRFLOW_HOME"/{airflow.cfg,airflow.db*}; do
  if [ -e "$path" ] && ! chmod go-rwx "$path"; then
    echo "$path is open to other users and not yours to close: give it to $(id -un)" >&2
    exit 1
  fi
done

if [ "${1:-}" = standalone ]; then
  # Airflow needs psutil itself, so the Python beside it has it, whichever one comes first on PATH.
  python=
  for each in "$(dirname "$(readlink -f "$(command -v airflow)")")/python3" python3; do
    if "$each" -c 'import psutil' 2>/dev/null; then
      python=$each
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "no python3 with psutil, which stops Airflow whole: run 'make venv' in $root" >&2
    exit 1
  fi
  port=${AIRFLOW__API__PORT:-8080}
  echo "Airflow will be at http://localhost:$port, user: admin, password: printed below on the"
  echo "first start and kept in $passwords"
  echo "All DAGs start paused: switch on sessions_hourly and retrain, and deadline to be told when"
  echo "an hour is late.  Ctrl-C stops Airflow, which takes about a quarter of a minute."
  echo "Its menu holds the report (Quality) and the Data Docs, every run those of its hour."
fi
cd "$root"
if [ "${1:-}" = standalone ]; then
  exec "$python" dags/own_session.py airflow "$@"
fi
exec airflow "$@"
