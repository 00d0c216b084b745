#!/usr/bin/env bash
# Search a namespace, in documents of one topic since a year:
#
#     examples/search.sh handbook "Who goes to sea?" harbour 2015
#
# DATAFACTORY_URL names the service, DATAFACTORY_KEY the API key where it wants one.
set -euo pipefail

namespace=$1 query=$2 topic=$3 since=$4
header=()
if [[ -n ${DATAFACTORY_KEY-} ]]; then header=(-H "Authorization: Bearer $DATAFACTORY_KEY"); fi

# Python writes the JSON: it quotes whatever the words contain.
python3 - "$namespace" "$query" "$topic" "$since" <<'PYTHON' |
import json, sys

namespace, query, topic, since = sys.argv[1:]
filters = {"topic": topic, "year": {"$gte": int(since)}}
request = {"tenant_id": "acme", "namespace": namespace, "query": query, "mode": "hybrid", "top_k": 3, "filters": filters}
print(json.dumps(request))
PYTHON
    curl -sS --fail-with-body "${DATAFACTORY_URL:-http://127.0.0.1:8000}/v1/search" \
        -H 'Content-Type: application/json' "${header[@]}" -d @- -w '\n'
