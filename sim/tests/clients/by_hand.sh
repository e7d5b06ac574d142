#!/usr/bin/env bash
# Clients that are too large for CI against `simctl serve`: Code Puppy (630 MB) and AIPerf (670 MB). Run by hand; says what
# each has seen. Needs a built simctl, python3 with venv, and PyPI.
#
#   sim/tests/clients/by_hand.sh target/debug/simctl FOLDER
set -u
simctl=$1
folder=$2
mkdir -p "$folder/data/code_puppy" "$folder/config/code_puppy" "$folder/work"
servers=()
trap 'kill "${servers[@]}" 2>/dev/null' EXIT

cat >"$folder/machine.toml" <<'TOML'
[machine]
model = "llama-3.1-8b"
wafers = 2
users = 4
context = 65536
[service]
prefix_cache = true
TOML
cat >"$folder/script.toml" <<'TOML'
[[answer]]
has_tool = "list_files"
after_tool = false
tool = "list_files"
arguments = { directory = "." }
[[answer]]
after_tool = true
text = "There are two files, and nothing is left to do."
TOML
echo 'tokens = { minute = 1 }' >"$folder/never.toml"

serve() { # PORT FLAGS...
  local port=$1
  shift
  "$simctl" serve "$folder/machine.toml" --listen "127.0.0.1:$port" "$@" 2>"$folder/$port.log" &
  servers+=($!)
  until curl -sf "http://127.0.0.1:$port/health" >"$folder/health"; do sleep 0.2; done
}
metric() { # PORT PATTERN
  curl -s "http://127.0.0.1:$1/metrics" | grep -v '^#' | grep -E "$2"
}
with() { # PACKAGE
  [ -x "$folder/$1/bin/$1" ] || { python3 -m venv "$folder/$1" && "$folder/$1/bin/pip" -q install "$1"; }
}

puppy() { # PORT
  printf '{"wafersim":{"type":"custom_openai","name":"q","custom_endpoint":%s,"context_length":65536}}' \
    "{\"url\":\"http://127.0.0.1:$1/v1\",\"api_key\":\"x\"}" >"$folder/data/code_puppy/extra_models.json"
  printf '[puppy]\npuppy_name = p\nowner_name = o\n' >"$folder/config/code_puppy/puppy.cfg"
  (cd "$folder/work" && HOME=$folder XDG_DATA_HOME=$folder/data XDG_CONFIG_HOME=$folder/config \
    "$folder/code-puppy/bin/code-puppy" -m wafersim -p "List the files." </dev/null >"$folder/puppy.log" 2>&1)
}

with code-puppy
serve 18090 --script "$folder/script.toml"
puppy 18090
echo "Code Puppy, one prompt with a tool call (wanted: one tool_calls, one stop):"
metric 18090 'request_success_total'
serve 18091 --plan "$folder/never.toml" --speed 1000
puppy 18091
echo "Code Puppy, refused for ever (wanted: 90):"
metric 18091 'requests_refused_total'

with aiperf
serve 18092 --speed 0.1
# AIPerf's vocabulary o200k_base, where another package has brought it: TIKTOKEN_CACHE_DIR.
"$folder/aiperf/bin/aiperf" profile -m q -u http://127.0.0.1:18092 --endpoint-type chat --streaming --tokenizer builtin \
  --synthetic-input-tokens-mean 200 --output-tokens-mean 100 --extra-inputs ignore_eos:true --use-server-token-count \
  --request-count 60 --concurrency 4 --ui none --output-artifact-dir "$folder/aiperf-out" >"$folder/aiperf.log" 2>&1
prompts=$(($(metric 18092 'prompt_tokens_total' | awk '{print $2}') / 60))
{
  cat "$folder/machine.toml"
  printf '[load]\nusers = 4\nprompt = { median = %d }\noutput = { median = 100 }\n[run]\nwindow = 100\n' "$prompts"
} >"$folder/predicted.toml"
"$simctl" stream "$folder/predicted.toml" --format json >"$folder/predicted.json"
python3 - "$folder" <<'PYTHON'
import json, sys
folder = sys.argv[1]
outcome = json.load(open(f"{folder}/predicted.json"))["outcome"]
seen = json.load(open(f"{folder}/aiperf-out/profile_export_aiperf.json"))
print("AIPerf against simctl stream, at a tenth of the speed:")
for name, key, predicted in [
    ("first token, ms", "time_to_first_token", outcome["first_token"]["mean"] * 1e4),
    ("between tokens, ms", "inter_token_latency", outcome["per_output_token"]["mean"] * 1e4),
    ("whole answer, ms", "request_latency", outcome["whole_request"]["mean"] * 1e4),
    ("all users, tok/s", "output_token_throughput", outcome["tokens_per_second"]["mean"] / 10),
]:
    print(f"  {name}: {seen[key]['avg']:.3f} seen, {predicted:.3f} predicted, {seen[key]['avg'] / predicted - 1:+.1%}")
PYTHON
