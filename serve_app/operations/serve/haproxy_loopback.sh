#!/bin/sh
# HAProxy for `memex serve`. Ray writes a configuration whose statistics and metrics ports listen on
# every interface, and whose API port listens where the replicas do. Here, before HAProxy reads it,
# the former are bound to loopback and the latter to MEMEX_HOST, so that the replicas' own ports can
# stay on loopback. Ray starts this in HAProxy's place and it becomes HAProxy, process id and all.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    # t: a line is changed once.
    sed -i -E \
        -e 's/^([[:space:]]*bind) [*]?:/\1 127.0.0.1:/' -e t \
        -e "s/^([[:space:]]*bind) 127\.0\.0\.1:$HAPROXY_API_PORT\$/\1 $HAPROXY_API_HOST:$HAPROXY_API_PORT/" \
        "$config"
fi
exec "$HAPROXY_BINARY" "$@"
