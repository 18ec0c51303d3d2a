#!/bin/sh
# A client of a home inference node for the shell: `buf curl` or grpcurl, whichever is installed.
#
#   ./infer.sh HOST:PORT                                  what the node can do
#   ./infer.sh HOST:PORT ocr page.png                     a task on a file
#   ./infer.sh HOST:PORT clip_classify cat.jpg topk=3     with options of the task
#   echo "a dog" | ./infer.sh HOST:PORT clip_text_embed -
#
# Prints the result, which is JSON but for tasks that give an image. If it fails, it prints one line
# and exits with 1. Several files at once are for the other examples: here each is a call.
set -eu

proto=$(dirname "$0")/../../proto
service=home_native.v1.Inference
connect=5 # seconds

fail() {
    printf 'infer.sh: %s\n' "$1" >&2
    exit 1
}

usage() {
    echo "usage: infer.sh HOST:PORT [TASK FILE [KEY=VALUE…]]" >&2
    exit 2
}

# call METHOD: sends the JSON of standard input, prints the JSON that comes back.
call() {
    if command -v buf >/dev/null; then
        buf curl --protocol grpc --http2-prior-knowledge --connect-timeout "$connect" \
            --schema "$proto" --data @- "http://$node/$service/$1"
    elif command -v grpcurl >/dev/null; then
        grpcurl -plaintext -connect-timeout "$connect" -import-path "$proto" \
            -proto home_native/v1/ml_service.proto -d @ "$node" "$service/$1"
    else
        echo "install buf (pip install buf-bin) or grpcurl" >&2
        return 1
    fi
}

# reason FILE…: the message of an error in one line, as buf, grpcurl or the node writes it.
reason() {
    message=$(sed -n -e 's/^ *"message": *"\(.*\)",\{0,1\}$/\1/p' -e 's/^ *Message: //p' "$@" |
        sed -e 's/\\\(["\\]\)/\1/g' -e q)
    [ -n "$message" ] || message=$(cat "$@" | tr -s ' \n' ' ')
    printf '%s' "$message"
}

# quoted TEXT: as a string of JSON.
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | sed -e 's/["\\]/\\&/g')"
}

# request TASK [KEY=VALUE…]: the message for the payload of standard input.
request() {
    printf '{"correlationId": "1", "task": %s, "meta": {' "$(quoted "$1")"
    shift
    comma=
    for option; do
        printf '%s%s: %s' "$comma" "$(quoted "${option%%=*}")" "$(quoted "${option#*=}")"
        comma=", "
    done
    printf '}, "payload": "'
    base64 | tr -d '\n'
    printf '"}'
}

[ $# -ge 1 ] && [ $# -ne 2 ] || usage
node=$1
shift
# A node on the LAN is reached without the proxy for what lies beyond it.
unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if [ $# -eq 0 ]; then
    echo '{}' | call GetCapabilities 2>"$work/errors" || fail "$(reason "$work/errors")"
    exit
fi

task=$1 file=$2
shift 2
for option; do
    case $option in
    *[[:cntrl:]]*) fail "there is a control character in an option" ;;
    ?*=*) ;;
    *) fail "an option is KEY=VALUE, not $option" ;;
    esac
done
[ "$task" != compose ] || fail "compose has several answers; examples/node and examples/go show them"
if [ "$file" = - ]; then
    request "$task" "$@" >"$work/request"
else
    [ -f "$file" ] && [ -r "$file" ] || fail "can't read $file"
    request "$task" "$@" <"$file" >"$work/request"
fi

answers=$work/answers
call Infer <"$work/request" >"$answers" 2>"$work/errors" || fail "$(reason "$work/errors" "$answers")"
if grep -q '^ *"error": *{' "$answers"; then fail "$(reason "$answers")"; fi
grep -q '"isFinal": *true' "$answers" || fail "the node ended the call without an answer"
# A large result comes in several messages; each is base64 of its own.
sed -n 's/^ *"result": *"\([^"]*\)".*$/\1/p' "$answers" |
    awk '{ print | "base64 -d"; close("base64 -d") }'
if grep -q '"resultMime": *"application/json' "$answers"; then echo; fi
