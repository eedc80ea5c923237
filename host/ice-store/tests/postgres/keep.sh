# Keeps one Postgres server for a test: started at once, stopped and removed when standard input ends, and so also when
# the test panics or is killed. Arguments: programs, folder, port, further settings. Says `ready` for every order done.
set -eu
bin=$1 folder=$2 port=$3 settings=$4
user=$(id -un)
# The server refuses to run as root.
[ "$user" != root ] || { user=postgres; id "$user" >/dev/null 2>&1 || user=nobody; }
as() { if [ "$(id -un)" = "$user" ]; then "$@"; else setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups "$@"; fi; }
start() {
  as "$bin/pg_ctl" -D "$folder/data" -w -t 60 -l "$folder/log" start \
    -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$folder -c fsync=off $settings" \
    </dev/null >/dev/null 2>&1
}
finish() {
  as "$bin/pg_ctl" -D "$folder/data" -m immediate -w stop </dev/null >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap finish EXIT
trap '' INT TERM HUP

chown -R "$user" "$folder" 2>/dev/null || true
# A checkout may lie where that user cannot go.
if ! as test -x "$bin/postgres"; then
  mkdir -p "$folder/programs/package"
  cp -r "${bin%/bin}" "$folder/programs/package/install"
  # Programs out of a wheel look for their libraries three folders up.
  cp -r "$bin"/../../../*.libs "$folder/programs/" 2>/dev/null || true
  chmod -R a+rX "$folder/programs"
  bin=$folder/programs/package/install/bin
fi
as "$bin/initdb" -D "$folder/data" -U ice --auth-local=trust --auth-host=scram-sha-256 --pwfile="$folder/password" \
  --no-sync --encoding=UTF8 --locale=C.UTF-8 </dev/null >"$folder/initdb" 2>&1 || { cat "$folder/initdb" >&2; exit 1; }
start || { cat "$folder/log" >&2; exit 1; }
echo ready
while read -r order; do
  case $order in
    kill) kill -9 "$(head -n1 "$folder/data/postmaster.pid")" ;;
    # Until the last child of a killed server is gone, the next one is refused.
    start) tries=0; until start; do tries=$((tries + 1)); [ $tries -lt 50 ] || { cat "$folder/log" >&2; exit 1; }; sleep 0.1; done ;;
  esac
  echo ready
done
