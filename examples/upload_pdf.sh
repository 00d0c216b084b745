#!/usr/bin/env bash
# Upload a PDF, wait for its job, and print the document:
#
#     examples/upload_pdf.sh handbook report.pdf
#
# DATAFACTORY_URL names the service, DATAFACTORY_KEY the API key where it wants one.
set -euo pipefail

namespace=$1 file=$2
doc_id=$(basename -- "$file")
url=${DATAFACTORY_URL:-http://127.0.0.1:8000}
call=(curl -sS --fail-with-body)
if [[ -n ${DATAFACTORY_KEY-} ]]; then call+=(-H "Authorization: Bearer $DATAFACTORY_KEY"); fi

# Prints a member of the JSON object on stdin.
member() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$1"; }

job=$("${call[@]}" "$url/v1/docs/upload" -F tenant_id=acme -F "namespace=$namespace" -F "doc_id=$doc_id" -F "file=@$file" |
    member job_id)
while [[ -n $job ]]; do # empty: the same file is there already
    status=$("${call[@]}" "$url/v1/jobs/$job" | member status)
    echo "job $job: $status" >&2
    if [[ $status != pending && $status != running ]]; then break; fi
    sleep 0.5
done
"${call[@]}" "$url/v1/docs/$doc_id" -G -d tenant_id=acme --data-urlencode "namespace=$namespace" -w '\n'
