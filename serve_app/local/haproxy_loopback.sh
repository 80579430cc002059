#!/bin/sh
# HAProxy for `memex serve`. Ray writes a configuration whose statistics and metrics ports listen on
# every interface; here they are bound to loopback before HAProxy reads it. Ray starts this in
# HAProxy's place and it becomes HAProxy, so its process id stays the same.
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
[ -n "$config" ] && sed -i -E 's/^([[:space:]]*bind) [*]?:/\1 127.0.0.1:/' "$config"
exec "$HAPROXY_BINARY" "$@"
