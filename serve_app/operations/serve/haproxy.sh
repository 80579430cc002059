#!/bin/sh
# HAProxy in front of memex. Ray starts this script instead of HAProxy with a configuration that it
# has just written, and this script changes it before HAProxy reads it; `exec` keeps the process id.
# - HAProxy's own answers are problems (RFC 9457) with a request id, as haproxy_answers.cfg and
#   haproxy_frontend.cfg say, and it answers 503, not 404, while no application is deployed.
# - If `memex serve` runs it: statistics and metrics listen on loopback instead of every interface,
#   and the API on MEMEX_HOST instead of the replicas' address, which stays loopback.
here=$(dirname "$0")
config=
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && config=$argument
    previous=$argument
done
if [ -n "$config" ]; then
    sed -i -E \
        -e '/^[[:space:]]*errorfile /d' \
        -e "/^defaults\$/r $here/haproxy_answers.cfg" \
        -e "/^frontend http_frontend\$/r $here/haproxy_frontend.cfg" \
        -e '/^backend default_backend$/,/^backend http/s/^( *http-request return) status 404 .*/\1 status 400 default-errorfiles unless { path_beg \/ }\n\1 status 503 default-errorfiles/' \
        "$config"
fi
if [ -n "$config" ] && [ -n "$HAPROXY_API_HOST" ]; then
    # t: changes a line only once.
    sed -i -E \
        -e 's/^([[:space:]]*bind) [*]?:/\1 127.0.0.1:/' -e t \
        -e "s/^([[:space:]]*bind) 127\.0\.0\.1:$HAPROXY_API_PORT\$/\1 $HAPROXY_API_HOST:$HAPROXY_API_PORT/" \
        "$config"
fi
exec "$HAPROXY_BINARY" "$@"
