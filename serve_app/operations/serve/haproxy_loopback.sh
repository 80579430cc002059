#!/bin/sh
# HAProxy for `memex serve`. Ray writes a configuration whose statistics and metrics ports listen on
# every interface, and whose API port listens on the replicas' address. Before HAProxy reads it, this
# script binds the former to loopback and the latter to MEMEX_HOST, so that the replicas' own ports
# can stay on loopback. Ray starts this script instead of HAProxy; `exec` keeps the process id.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    # t: changes a line only once.
    sed -i -E \
        -e 's/^([[:space:]]*bind) [*]?:/\1 127.0.0.1:/' -e t \
        -e "s/^([[:space:]]*bind) 127\.0\.0\.1:$HAPROXY_API_PORT\$/\1 $HAPROXY_API_HOST:$HAPROXY_API_PORT/" \
        "$config"
fi
exec "$HAPROXY_BINARY" "$@"
